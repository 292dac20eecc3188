/* api_index.c */
typedef int unused_api_index;
