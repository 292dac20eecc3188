/* config_keys: the one table of settings: name, type, place in struct config, default,
 * documentation. The YAML reader, --set, config_dump and docs/configuration.md all work from it. */
#pragma once

#include "config.h"

enum config_type {
    KEY_BOOL,     /* bool */
    KEY_U16,      /* uint16_t */
    KEY_U32,      /* uint32_t or unsigned */
    KEY_DOUBLE,   /* double, not negative */
    KEY_DURATION, /* int64_t ns, not negative */
    KEY_BYTES,    /* uint64_t */
    KEY_TEXT,     /* char * */
    KEY_LEVEL,    /* char *, one of log.h's levels */
    KEY_SYNC,     /* enum wal_sync */
    KEY_CODEC,    /* enum block_effort */
    KEY_DELETION, /* bool */
    KEY_LIST,     /* const struct str *, with the count in the size_t at count_offset */
};

struct config_key {
    const char *path;
    enum config_type type;
    size_t offset, count_offset;
    const char *fallback; /* as one would write it in the file; lists: separated by commas */
    bool reloads;         /* SIGHUP takes it over */
    const char *doc;
};

extern const struct config_key config_keys[];
extern const size_t config_keys_count;

/* NULL when there is none of that name. */
const struct config_key *config_key_find(struct str path);

/* config_near.c: what was meant by a name that is no setting, of the same number of parts, or the setting that a name
 * without its section is the end of; .data NULL: nothing comes near. */
struct str config_key_near(struct str path);

/* Is `path` a section that holds keys ("limits_config")? */
bool config_key_is_section(struct str path);

/* Parses `text` into the key's place; -ESYNTAX: `"abc" is not a duration; allowed: ...`,
 * -ENOMEM. */
int config_key_set(struct config *c, const struct config_key *key, struct str text,
                   struct err *reterr);
int config_key_set_list(struct config *c, const struct config_key *key, const struct str *items,
                        size_t count, struct err *reterr);

/* The present value as YAML writes it. */
void config_key_format(const struct config *c, const struct config_key *key, struct buf *out);

/* Gives `to` a copy of the value that `from` has; 0 or -ENOMEM. */
int config_key_copy(const struct config *from, struct config *to, const struct config_key *key);

/* What may stand there, for people. */
const char *config_type_allowed(enum config_type type);

/* config_yaml.c: reads a settings file into c. -ESYNTAX with "NAME:LINE: ..." */
struct config_file {
    struct config *config;
    const char *name;               /* for messages */
    struct config_retention *rules; /* in the config's arena */
    size_t n_rules;
};
/* The rules of a retention_stream whose first event is the present one; nothing is written when it
 * is null. */
struct yaml_walk;
int config_yaml_rules(struct yaml_walk *y, struct arena *arena, struct config_retention **ret,
                      size_t *ret_count);
int config_yaml_read(struct config_file *f, struct str text, struct err *reterr);

/* Adds a line to c->warnings. 0 or -ENOMEM. */
int config_warn(struct config *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
