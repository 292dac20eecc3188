/* curl_lib: the functions of libcurl that logq uses, loaded when it first asks a server. The library brings some thirty
 * others, and loading them takes longer than a search in a data directory. One thread. */
#pragma once

#define CURL_DISABLE_TYPECHECK /* what follows are pointers, not the macros that check */
#include <curl/curl.h>

#include "err.h"

struct curl_lib {
    CURL *(*easy_init)(void);
    void (*easy_cleanup)(CURL *);
    CURLcode (*easy_setopt)(CURL *, CURLoption, ...);
    CURLcode (*easy_getinfo)(CURL *, CURLINFO, ...);
    CURLcode (*easy_perform)(CURL *);
    const char *(*easy_strerror)(CURLcode);
    struct curl_slist *(*slist_append)(struct curl_slist *, const char *);
    void (*slist_free_all)(struct curl_slist *);
};

/* NULL when it is not installed or does not start. Stays for the life of the process. */
const struct curl_lib *curl_lib_load(struct err *reterr);
