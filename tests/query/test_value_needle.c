/* Values that label filters ask for, in blocks that were told apart by them: whatever way a value comes from (a line as it
 * is, an escape, metadata, the stream), it is found; where it is not, no block is read. */
#include "value_needle.h"

#include "engine.h"
#include "store_world.h"
#include "units.h"

#define BASE_NS (INT64_C(1790000000) * NS_PER_S)
#define VALUE "7f3c9a21-Token.x"

static struct store_world world;
static struct engine *engine;

/* Each makes a stream and, flushed, a block of its own. */
static const struct sample {
    const char *app, *line;
    const char *meta_name, *label_name; /* of VALUE, besides */
} samples[] = {
    {"json", "{\"id\":\"" VALUE "\"}", NULL, NULL},
    {"json-inside", "{\"a\":{\"id\":\"" VALUE "\"}}", NULL, NULL},
    {"json-escaped-letter", "{\"id\":\"7f3c9a21-\\u0054oken.x\"}", NULL, NULL},
    {"json-escaped-digit", "{\"id\":\"7f3c9\\u0061\\u00321-Token.x\"}", NULL, NULL},
    {"json-all-escaped",
     "{\"id\":"
     "\"\\u0037\\u0066\\u0033\\u0063\\u0039\\u0061\\u0032\\u0031\\u002d\\u0054\\u006f\\u006b\\u0065"
     "\\u006e\\u002e\\u"
     "0078\"}",
     NULL, NULL},
    {"logfmt", "id=" VALUE " x=1", NULL, NULL},
    {"logfmt-quoted", "x=1 id=\"" VALUE "\"", NULL, NULL},
    {"logfmt-escaped", "id=\"7f3c9a21-\\u0054oken.x\" x=1", NULL, NULL},
    {"text", "user <" VALUE "> came", NULL, NULL},
    {"meta", "nothing", "id", NULL},
    {"meta-json", "{\"x\":1}", "id", NULL},
    {"label", "nothing", NULL, "id"},
    {"label-json", "{\"id\":\"other\"}", NULL, "id"},
    {"absent-json", "{\"id\":\"8f3c9a21-Token.x\"}", NULL, NULL},
    {"absent-logfmt", "id=7f3c9a22-Token.x", NULL, NULL},
    {"absent-meta", "{\"x\":1}", "other", NULL},
};
enum { SAMPLES = sizeof(samples) / sizeof(samples[0]) };

static void fill(void) {
    world_begin(&world);
    world_open(&world, (struct store_options){.wal = {.sync = WAL_SYNC_OFF}});
    engine = engine_new(world.store, &(struct engine_options){.threads = 1});
    for (size_t i = 0; i < SAMPLES; i++) {
        const struct sample *s = &samples[i];
        struct label items[] = {{STR("app"), str_from(s->app)}, {STR("id"), STR(VALUE)}};
        struct label meta = {s->meta_name ? str_from(s->meta_name) : STR(""), STR(VALUE)};
        struct entry entry = {.ts_ns = BASE_NS + (int64_t)i,
                              .line = str_from(s->line),
                              .meta = &meta,
                              .meta_count = s->meta_name != NULL};
        struct labels labels = {.items = items, .count = s->label_name ? 2 : 1};
        CHECK_INT(world_append(world.store, STR("t"), labels, &entry, 1), 0);
    }
    CHECK_INT(store_flush(world.store, NULL), 0);
}

/* `apps`: whose entries are the answer, with blanks around each; `blocks` blocks are read for it. */
static void expect(const char *stages, const char *apps, unsigned blocks) {
    char text[256];
    (void)snprintf(text, sizeof(text), "{app=~`.+`} %s", stages);
    struct query q = {.tenant = STR("t"),
                      .text = str_from(text),
                      .start_ns = BASE_NS,
                      .end_ns = BASE_NS + NS_PER_S,
                      .limit = 100};
    struct query_result *result = NULL;
    struct err err = {0};
    CHECK_INT(engine_query(engine, &q, &result, &err), 0);
    size_t wanted = 0;
    for (const char *p = apps + 1; *p; p++)
        wanted += *p == ' ';
    bool right = result && result->n_entries == wanted;
    for (size_t i = 0; result && i < result->n_entries; i++) {
        char app[64];
        struct str name = labels_get(result->sets[result->entries[i].set].merged, STR("app"));
        (void)snprintf(app, sizeof(app), " %.*s ", STR_ARG(name));
        right = right && strstr(apps, app);
    }
    CHECK(right);
    if (!right)
        printf("  %s: %zu entries, want%s\n", text, result ? result->n_entries : 0, apps);
    if (result) {
        const struct query_stats *s = &result->stats;
        CHECK_INT(s->blocks_considered - s->blocks_skipped_filter, blocks);
    }
    query_result_free(result);
}

static void behind_json(void) {
    expect("| json | id=`" VALUE "`",
           " json json-escaped-letter json-escaped-digit json-all-escaped meta meta-json label "
           "label-json ",
           13);
    expect("| json | a_id=`" VALUE "`", " json-inside ", 9);
    expect("| json found=`id` | found=`" VALUE "`",
           " json json-escaped-letter json-escaped-digit json-all-escaped ", 9);
    expect("| json | id=`no such value`", " ", 4);
}

static void behind_logfmt(void) {
    expect("| logfmt | id=`" VALUE "`",
           " logfmt logfmt-quoted logfmt-escaped meta meta-json label label-json ", 13);
}

/* No escapes are undone: those with escapes need not be read. */
static void behind_pattern(void) {
    expect("| pattern `user <<who>> came` | who=`" VALUE "`", " text ", 5);
    expect("| regexp `user <(?P<id>[^>]+)>` | id=`" VALUE "`",
           " text meta meta-json label label-json ", 9);
}

static void without_parser(void) {
    expect("| id=`" VALUE "`", " meta meta-json label label-json ", 4);
    expect("| id=`" VALUE "` and app=`meta`", " meta ", 4);
    expect("| id=`" VALUE "` or app=`json`", " json meta meta-json label label-json ", SAMPLES);
    expect("| id=`nothing like it`", " ", 2); /* streams with the label */
    expect("| other=`" VALUE "`", " absent-meta ", 1);
    expect("| other=`nothing like it`", " ", 0);
    expect("| nosuch=`x`", " ", 0);
    expect("| nosuch=``| app=`json`", " json ", SAMPLES);
}

/* Labels that a stage makes, or lines that it changes, stand in no filter. */
static void made_by_stages(void) {
    expect("| label_format id=`{{.app}}` | id=`json`", " json ", SAMPLES);
    expect("| line_format `{\"id\":\"made-by-hand\"}` | json | id=`made-by-hand`",
           " json json-inside json-escaped-letter json-escaped-digit json-all-escaped logfmt "
           "logfmt-quoted logfmt-escaped "
           "text absent-json absent-logfmt absent-meta ",
           SAMPLES);
}

int main(void) {
    fill();
    RUN(behind_json);
    RUN(behind_logfmt);
    RUN(behind_pattern);
    RUN(without_parser);
    RUN(made_by_stages);
    engine_free(engine);
    world_end(&world);
    return test_done();
}
