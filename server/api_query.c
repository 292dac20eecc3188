/* api_query.c */
typedef int unused_api_query;
