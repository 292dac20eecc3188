/* snapshot.c */
typedef int unused_snapshot;
