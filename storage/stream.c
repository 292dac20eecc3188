/* stream.c */
typedef int unused_stream;
