/* format.c */
typedef int unused_format;
