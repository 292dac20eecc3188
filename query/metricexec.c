/* metricexec.c */
typedef int unused_metricexec;
