/* vector.c */
typedef int unused_vector;
