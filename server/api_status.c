/* api_status.c */
typedef int unused_api_status;
