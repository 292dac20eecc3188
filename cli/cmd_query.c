/* cmd_query.c */
typedef int unused_cmd_query;
