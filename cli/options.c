/* options.c */
typedef int unused_options;
