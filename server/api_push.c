/* api_push.c */
typedef int unused_api_push;
