/* overlap.c */
typedef int unused_overlap;
