/* output.c */
typedef int unused_output;
