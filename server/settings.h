/* settings: all that a reload replaces, as one immutable whole: the configuration and what it names
 * files for. Reference counted: a request holds the settings that it began with until it ends,
 * and what nobody holds any more is freed. Any thread. */
#pragma once

#include "access.h"
#include "config.h"

struct settings {
    atomic_uint refs;
    struct config *config;
    struct access *access; /* NULL: no access file, everybody may do everything */
};

/* Reads the access file that the configuration names. Takes one reference of the configuration,
 * also when it fails. */
int settings_new(struct config *config, struct settings **ret, struct err *reterr);
struct settings *settings_ref(struct settings *s);
void settings_unref(struct settings *s); /* NULL is fine */
