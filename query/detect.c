/* Fields are found by running the query engine's own parser stages over the sampled lines, so
 * that a field's name here is exactly the label that `| json` or `| logfmt` makes of it. */
#include "detect.h"

#include <errno.h>
#include <stdlib.h>

#include "distinct.h"
#include "exec.h"
#include "hash.h"
#include "json.h"
#include "map.h"
#include "names.h"
#include "pipeline.h"
#include "units.h"

enum { PATH_DEPTH_MAX = JSON_DEPTH_MAX };

enum origin { FROM_METADATA, FROM_JSON, FROM_LOGFMT, FROM_QUERY };

struct field {
    struct detected_field shown;
    uint64_t hash;
};

struct detector {
    const struct query_result *sample;
    struct detected *out;
    struct err *reterr;
    uint32_t max; /* fields or values */

    struct pipeline *json, *logfmt;
    struct pipeline_run *json_run, *logfmt_run;
    uint32_t set; /* the runs' present one */

    struct map known; /* field name -> struct field; or value -> itself */
    struct distinct seen;

    /* detect_fields */
    struct field **fields;
    size_t n_fields, capacity;
    bool wants_paths; /* some JSON field of the line at hand has no path yet */
    struct names names;
    struct buf scratch;

    /* detect_values */
    struct str only;
    struct str *values;
    size_t n_values, values_capacity;
};

/* Takes one name and value of a line. 0, 1 = enough, or negative. */
typedef int take_fn(struct detector *d, struct str name, struct str value, enum origin origin);

/* ---- types */

static bool is_boolean(struct str value) {
    static const char *const texts[] = {"1", "t", "T", "TRUE",  "true",  "True",
                                        "0", "f", "F", "FALSE", "false", "False"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        if (str_eq(value, str_from(texts[i])))
            return true;
    return false;
}

enum field_type field_type_of(struct str value) {
    int64_t whole;
    double number;
    uint64_t bytes;
    if (i64_parse(value, &whole) == 0)
        return FIELD_INT;
    if (float_parse_go(value, &number) == 0)
        return FIELD_FLOAT;
    if (is_boolean(value))
        return FIELD_BOOLEAN;
    if (duration_parse_go(value, &whole) == 0)
        return FIELD_DURATION;
    if (bytes_parse(value, &bytes) == 0)
        return FIELD_BYTES;
    return FIELD_STRING;
}

struct str field_type_name(enum field_type type) {
    static const char *const names[] = {
        [FIELD_INT] = "int",           [FIELD_FLOAT] = "float", [FIELD_BOOLEAN] = "boolean",
        [FIELD_DURATION] = "duration", [FIELD_BYTES] = "bytes", [FIELD_STRING] = "string",
    };
    return str_from(names[type]);
}

/* ---- one line */

static bool is_error_label(struct str name) {
    return str_eq(name, STR("__error__")) || str_eq(name, STR("__error_details__")) ||
           str_eq(name, STR("__preserve_error__"));
}

static int take_all(struct detector *d, struct labels labels, enum origin origin, take_fn *take) {
    int r = 0;
    for (size_t i = 0; i < labels.count && r == 0; i++)
        if (!is_error_label(labels.items[i].name))
            r = take(d, labels.items[i].name, labels.items[i].value, origin);
    return r;
}

/* What the parser makes of the line; `*ret` is NULL when it cannot read it. */
static int parse_line(struct detector *d, struct pipeline_run *run, const struct result_entry *e,
                      const struct line_labels **ret) {
    const struct pipeline_line in = {.ts_ns = e->ts_ns, .line = e->line};
    struct pipeline_output out;
    *ret = NULL;
    if (!pipeline_run_line(run, &in, &out))
        return 0;
    const struct line_labels *labels = pipeline_run_labels(run);
    if (!labels)
        return exec_no_memory(d->reterr);
    if (labels->error.size == 0)
        *ret = labels;
    return 0;
}

static int find_paths(struct detector *d, struct labels stream, struct str line);

static int take_line(struct detector *d, const struct result_entry *e, take_fn *take) {
    const struct result_set *set = &d->sample->sets[e->set];
    if (d->set != e->set) {
        pipeline_run_stream(d->json_run, set->stream);
        pipeline_run_stream(d->logfmt_run, set->stream);
        d->set = e->set;
    }
    const struct line_labels *found;
    enum origin origin = FROM_JSON;
    int r = parse_line(d, d->json_run, e, &found);
    if (r == 0 && !found) {
        origin = FROM_LOGFMT;
        r = parse_line(d, d->logfmt_run, e, &found);
    }
    if (r == 0)
        r = take_all(d, set->metadata, FROM_METADATA, take);
    if (r == 0)
        r = take_all(d, set->parsed, found ? origin : FROM_QUERY, take);
    if (r == 0 && found)
        r = take_all(d, found->parsed, origin, take);
    if (r == 0 && d->wants_paths)
        r = find_paths(d, set->stream, e->line);
    d->wants_paths = false;
    return r;
}

/* ---- fields */

static int field_add(struct detector *d, struct str name, struct field **ret) {
    if (d->n_fields == d->capacity) {
        size_t capacity = d->capacity ? d->capacity * 2 : 64;
        struct field **fields = realloc(d->fields, capacity * sizeof(struct field *));
        if (!fields)
            return exec_no_memory(d->reterr);
        d->fields = fields;
        d->capacity = capacity;
    }
    struct field *f = arena_array(&d->out->arena, 1, sizeof(*f));
    struct str copy = arena_copy(&d->out->arena, name);
    if (!f || !copy.data || map_put(&d->known, copy, f) < 0)
        return exec_no_memory(d->reterr);
    f->shown.name = copy;
    f->hash = hash_str(name);
    d->fields[d->n_fields++] = f;
    *ret = f;
    return 0;
}

static int take_field(struct detector *d, struct str name, struct str value, enum origin origin) {
    struct field *f = map_get(&d->known, name);
    if (!f && d->n_fields >= d->max)
        return 0;
    int r = f ? 0 : field_add(d, name, &f);
    if (r < 0)
        return r;
    r = distinct_add(&d->seen, hash_mix(f->hash, hash_str(value)));
    if (r < 0)
        return exec_no_memory(d->reterr);
    f->shown.cardinality += (uint64_t)r;
    f->shown.type = field_type_of(value);
    f->shown.json |= origin == FROM_JSON;
    f->shown.logfmt |= origin == FROM_LOGFMT;
    d->wants_paths |= origin == FROM_JSON && !f->shown.path;
    return 0;
}

static int compare_fields(const void *a, const void *b) {
    return str_cmp(((const struct detected_field *)a)->name,
                   ((const struct detected_field *)b)->name);
}

static int finish_fields(struct detector *d) {
    struct detected_field *fields = arena_array(&d->out->arena, d->n_fields, sizeof(*fields));
    if (!fields)
        return exec_no_memory(d->reterr);
    for (size_t i = 0; i < d->n_fields; i++)
        fields[i] = d->fields[i]->shown;
    qsort(fields, d->n_fields, sizeof(*fields), compare_fields);
    d->out->fields = fields;
    d->out->n_fields = d->n_fields;
    return 0;
}

/* ---- paths of JSON fields */

struct path {
    struct str keys[PATH_DEPTH_MAX];
    size_t count;
};

/* The field that the leaf at the path makes gets the path, unless it has one. */
static int path_found(struct detector *d, struct labels stream, uint32_t id,
                      const struct path *path) {
    struct str name = d->names.texts[id];
    if (labels_get(stream, name).data) {
        buf_clear(&d->scratch);
        buf_add_str(&d->scratch, name);
        buf_add_str(&d->scratch, STR("_extracted"));
        name = buf_str(&d->scratch);
    }
    struct field *f = map_get(&d->known, name);
    if (!f || !f->shown.json || f->shown.path)
        return 0;
    struct str *keys = arena_array(&d->out->arena, path->count, sizeof(*keys));
    if (!keys)
        return exec_no_memory(d->reterr);
    for (size_t i = 0; i < path->count; i++) {
        keys[i] = arena_copy(&d->out->arena, path->keys[i]);
        if (!keys[i].data)
            return exec_no_memory(d->reterr);
    }
    f->shown.path = keys;
    f->shown.path_count = path->count;
    return 0;
}

/* The members of one object on the way down. */
struct level {
    uint32_t prefix; /* label name of the object; UINT32_MAX at the top */
    bool first;
};

/* A key as text; an empty data pointer on a bad escape or without memory. */
static struct str key_text(struct detector *d, const struct json_value *key) {
    if (!key->escaped)
        return key->raw;
    char *out = arena_alloc(&d->names.arena, key->raw.size + 1);
    int64_t size = out ? json_unescape(key->raw, out) : -1;
    return size < 0 ? (struct str){0} : str_make(out, (size_t)size);
}

/* Walks the document's objects with a stack of its own. A document that cannot be read to its
 * end, or that nests too deep, gives the paths found so far: a field without a path is a field
 * all the same. */
static int find_paths(struct detector *d, struct labels stream, struct str line) {
    struct json_reader reader = json_reader_make(line);
    struct level levels[PATH_DEPTH_MAX];
    struct path path = {0};
    if (json_next(&reader).type != JSON_OBJECT)
        return 0;
    levels[0] = (struct level){.prefix = UINT32_MAX, .first = true};
    size_t depth = 1, place = 0;
    int r = 0;
    while (depth > 0 && r == 0) {
        struct level *level = &levels[depth - 1];
        struct json_value key, value = {.type = JSON_ERROR};
        if (!json_next_member(&reader, &level->first, &key, &value)) {
            if (value.type != JSON_END)
                return 0;
            depth--;
            continue;
        }
        bool failed = false;
        path.count = depth;
        path.keys[depth - 1] = key_text(d, &key);
        if (!path.keys[depth - 1].data)
            return 0;
        uint32_t id = names_key(&d->names, level->prefix, path.keys[depth - 1], place++, &failed);
        if (failed)
            return 0;
        if (value.type == JSON_OBJECT && depth < PATH_DEPTH_MAX)
            levels[depth++] = (struct level){.prefix = id, .first = true};
        else if (value.type == JSON_OBJECT || value.type == JSON_ARRAY)
            r = json_skip_rest(&reader, value.type) ? 0 : 1;
        else if (value.type != JSON_NULL && id != UINT32_MAX)
            r = path_found(d, stream, id, &path);
    }
    return r < 0 ? r : 0;
}

/* ---- values */

/* A size with a unit, in the shortest form that a label filter can be given: no blank. */
static struct str comparable(struct detector *d, struct str value) {
    uint64_t bytes;
    char last = value.size > 0 ? value.data[value.size - 1] : '0';
    if ((last >= '0' && last <= '9') || bytes_parse(value, &bytes) < 0)
        return value;
    buf_clear(&d->scratch);
    bytes_format(&d->scratch, bytes);
    char *blank = memchr(d->scratch.data, ' ', d->scratch.size);
    if (blank) {
        memmove(blank, blank + 1, (size_t)(d->scratch.data + d->scratch.size - blank - 1));
        d->scratch.size--;
    }
    return buf_str(&d->scratch);
}

static int take_value(struct detector *d, struct str name, struct str value, enum origin origin) {
    if (!str_eq(name, d->only))
        return 0;
    if (origin != FROM_METADATA)
        value = comparable(d, value);
    if (map_get(&d->known, value))
        return 0;
    if (d->n_values == d->values_capacity) {
        size_t capacity = d->values_capacity ? d->values_capacity * 2 : 64;
        struct str *values = realloc(d->values, capacity * sizeof(*values));
        if (!values)
            return exec_no_memory(d->reterr);
        d->values = values;
        d->values_capacity = capacity;
    }
    struct str copy = arena_copy(&d->out->arena, value);
    if (!copy.data || map_put(&d->known, copy, d) < 0)
        return exec_no_memory(d->reterr);
    d->values[d->n_values++] = copy;
    return d->n_values >= d->max;
}

static int compare_values(const void *a, const void *b) {
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static int finish_values(struct detector *d) {
    struct str *values = arena_array(&d->out->arena, d->n_values, sizeof(*values));
    if (!values)
        return exec_no_memory(d->reterr);
    if (d->n_values > 0) {
        memcpy(values, d->values, d->n_values * sizeof(*values));
        qsort(values, d->n_values, sizeof(*values), compare_values);
    }
    d->out->values = values;
    d->out->n_values = d->n_values;
    return 0;
}

/* ---- the whole sample */

static int start(struct detector *d) {
    static const struct stage json_stage = {.kind = STAGE_JSON};
    static const struct stage logfmt_stage = {.kind = STAGE_LOGFMT};
    const struct pipeline_options o = {.needs = {.all = true}};
    int r = pipeline_compile(&json_stage, &o, &d->json, d->reterr);
    if (r == 0)
        r = pipeline_compile(&logfmt_stage, &o, &d->logfmt, d->reterr);
    if (r < 0)
        return r;
    d->json_run = pipeline_run_new(d->json);
    d->logfmt_run = pipeline_run_new(d->logfmt);
    return d->json_run && d->logfmt_run ? 0 : exec_no_memory(d->reterr);
}

static int take_sample(struct detector *d, take_fn *take) {
    const struct query_result *sample = d->sample;
    size_t bytes = 0;
    int r = 0;
    for (size_t i = 0; i < sample->n_entries && i < DETECT_LINES_MAX && r == 0; i++) {
        bytes += sample->entries[i].line.size;
        if (i > 0 && bytes > DETECT_LINE_BYTES_MAX)
            break;
        r = take_line(d, &sample->entries[i], take);
    }
    return r < 0 ? r : 0;
}

static int detect(struct detector *d, take_fn *take, int (*finish)(struct detector *d),
                  struct detected **ret) {
    names_init(&d->names);
    d->set = UINT32_MAX;
    d->known = map_make();
    d->seen = distinct_make();
    d->scratch = buf_make(EXEC_BYTES_MAX);
    d->out = calloc(1, sizeof(*d->out));
    int r = d->out ? 0 : exec_no_memory(d->reterr);
    if (r < 0)
        goto out;
    d->out->arena = arena_make_for(BUDGET_QUERIES, EXEC_BYTES_MAX);
    r = start(d);
    if (r == 0)
        r = take_sample(d, take);
    if (r == 0)
        r = finish(d);
    if (r == 0) {
        *ret = d->out;
        d->out = NULL;
    }
out:
    detected_free(d->out);
    free(d->fields);
    free(d->values);
    buf_done(&d->scratch);
    distinct_done(&d->seen);
    map_done(&d->known);
    names_done(&d->names);
    pipeline_run_free(d->json_run);
    pipeline_run_free(d->logfmt_run);
    pipeline_free(d->json);
    pipeline_free(d->logfmt);
    return r;
}

int detect_fields(const struct query_result *sample, uint32_t max_fields, struct detected **ret,
                  struct err *reterr) {
    struct detector d = {
        .sample = sample,
        .reterr = reterr,
        .max = max_fields < DETECT_FIELDS_MAX ? max_fields : DETECT_FIELDS_MAX,
    };
    return detect(&d, take_field, finish_fields, ret);
}

int detect_values(const struct query_result *sample, struct str field, uint32_t max_values,
                  struct detected **ret, struct err *reterr) {
    struct detector d = {
        .sample = sample,
        .reterr = reterr,
        .max = max_values < DETECT_VALUES_MAX ? max_values : DETECT_VALUES_MAX,
        .only = field,
    };
    return detect(&d, take_value, finish_values, ret);
}

void detected_free(struct detected *d) {
    if (!d)
        return;
    arena_done(&d->arena);
    free(d);
}
