/* cmd_list.c */
typedef int unused_cmd_list;
