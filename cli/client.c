/* client.c */
typedef int unused_client;
