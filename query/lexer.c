/* lexer.c */
typedef int unused_lexer;
