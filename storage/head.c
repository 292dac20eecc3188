/* head.c */
typedef int unused_head;
