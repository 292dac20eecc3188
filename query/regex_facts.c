/* regex_facts.c */
typedef int unused_regex_facts;
