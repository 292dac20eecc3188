/* flush.c */
typedef int unused_flush;
