/* rebuild.c */
typedef int unused_rebuild;
