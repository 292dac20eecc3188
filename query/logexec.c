/* logexec.c */
typedef int unused_logexec;
