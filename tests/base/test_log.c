#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "err.h"
#include "log.h"
#include "test.h"
#include "units.h"

static int log_fds[2], real_stderr;

static void capture(void) {
    if (pipe(log_fds) < 0)
        abort();
    real_stderr = dup(STDERR_FILENO);
    (void)dup2(log_fds[1], STDERR_FILENO);
}

/* What has been logged since capture(). */
static struct str captured(char *out, size_t room) {
    (void)dup2(real_stderr, STDERR_FILENO);
    (void)close(real_stderr);
    (void)close(log_fds[1]);
    size_t size = 0;
    for (;;) {
        ssize_t n = read(log_fds[0], out + size, room - size);
        if (n <= 0)
            break;
        size += (size_t)n;
    }
    (void)close(log_fds[0]);
    return str_make(out, size);
}

static void test_line(void) {
    char text[20000];
    capture();
    log_line(LOG_INFO, "started \"now\"", "port=%d path=%s", 3100, log_quotez("/a b"));
    log_line(LOG_DEBUG, "hidden", "");
    log_line(LOG_WARN, "plain", "");
    struct str got = captured(text, sizeof(text));
    const char *newline = memchr(got.data, '\n', got.size);
    CHECK(newline != NULL);
    struct str first = str_make(got.data, (size_t)(newline - got.data));
    CHECK(str_starts(first, STR("ts=20")));
    int64_t ns;
    CHECK_INT(time_parse_rfc3339(str_make(first.data + 3, 24), &ns), 0);
    CHECK(llabs(ns - clock_now_ns()) < 3600 * NS_PER_S);
    CHECK_STR(str_from_offset(first, 27),
              STR(" level=info msg=\"started \\\"now\\\"\" port=3100 path=\"/a b\""));
    struct str second = str_from_offset(got, first.size + 1);
    CHECK_STR(str_from_offset(second, 27), STR(" level=warn msg=\"plain\"\n"));
}

static void test_long_lines(void) {
    static char text[20000], longest[10000];
    memset(longest, 'x', sizeof(longest) - 1);
    capture();
    log_line(LOG_ERROR, longest, "key=%s", longest);
    log_line(LOG_ERROR, "m", "key=%s", longest);
    struct str got = captured(text, sizeof(text));
    const char *newline = memchr(got.data, '\n', got.size);
    CHECK(newline != NULL && newline - got.data < 4096);
    CHECK(got.size <= 2 * 4096 && got.data[got.size - 1] == '\n');
}

static void test_quote(void) {
    static const struct {
        struct str value, want;
    } cases[] = {
        {STR_INIT("plain"), STR_INIT("plain")},
        {STR_INIT(""), STR_INIT("\"\"")},
        {STR_INIT("a b"), STR_INIT("\"a b\"")},
        {STR_INIT("a=b"), STR_INIT("\"a=b\"")},
        {STR_INIT("say \"hi\"\\"), STR_INIT("\"say \\\"hi\\\"\\\\\"")},
        {STR_INIT("a\nb\r\t\x01\x7f"), STR_INIT("\"a\\nb\\r\\t\\u0001\\u007f\"")},
        {STR_INIT("caf\xC3\xA9"), STR_INIT("caf\xC3\xA9")},
        {STR_INIT("nul\0x"), STR_INIT("\"nul\\u0000x\"")},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        CHECK_STR(str_from(log_quote(cases[i].value)), cases[i].want);
    const char *a = log_quotez("a"), *b = log_quotez("b"), *c = log_quotez("c"),
               *d = log_quotez("d");
    CHECK(a[0] == 'a' && b[0] == 'b' && c[0] == 'c' && d[0] == 'd');
    char longest[5000];
    memset(longest, '\n', sizeof(longest));
    CHECK(strlen(log_quote(str_make(longest, sizeof(longest)))) < 1024);
    memset(longest, 'x', sizeof(longest));
    CHECK(strlen(log_quote(str_make(longest, sizeof(longest)))) < 1024);
}

static void test_levels(void) {
    enum log_level level = LOG_INFO;
    CHECK_INT(log_level_parse(STR("debug"), &level), 0);
    CHECK_INT(level, LOG_DEBUG);
    CHECK_INT(log_level_parse(STR("error"), &level), 0);
    CHECK_INT(level, LOG_ERROR);
    CHECK_INT(log_level_parse(STR("verbose"), &level), -ESYNTAX);
    CHECK_INT(log_level_parse(STR(""), &level), -ESYNTAX);
    CHECK_INT(level, LOG_ERROR);
    char text[4096];
    log_set_level(LOG_ERROR);
    capture();
    log_line(LOG_WARN, "hidden", "");
    CHECK_INT(captured(text, sizeof(text)).size, 0);
    log_set_level(LOG_INFO);
}

static void test_clock(void) {
    int64_t before = clock_mono_ns(), now = clock_now_ns();
    CHECK(now > 1600000000 * NS_PER_S);
    CHECK(clock_mono_ns() >= before);
    clock_shift_ns(1000 * NS_PER_DAY);
    CHECK(clock_now_ns() - now >= 999 * NS_PER_DAY);
    clock_shift_ns(0);
    CHECK(clock_now_ns() - now < NS_PER_DAY);
}

int main(void) {
    /* Read at first use, which comes below. */
    (void)setenv("LOGQ_TEST_CLOCK_OFFSET", "-24h", 1);
    int64_t shifted_ns = clock_now_ns();
    clock_shift_ns(0);
    bool offset_read = clock_now_ns() - shifted_ns >= NS_PER_DAY;
    CHECK(offset_read);
    RUN(test_line);
    RUN(test_long_lines);
    RUN(test_quote);
    RUN(test_levels);
    RUN(test_clock);
    return test_done() || !offset_read;
}
