/* cmd_push.c */
typedef int unused_cmd_push;
