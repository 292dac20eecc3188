/* Environment variables in settings. */
#include "test.h"

#include <errno.h>
#include <stdlib.h>

#include "config_env.h"

static void check_expand(const char *text, const char *want) {
    struct buf out = buf_make(1000);
    struct err err = {0};
    CHECK_INT(config_env_expand(str_from(text), &out, &err), 0);
    CHECK_STR(buf_str(&out), str_from(want));
    buf_done(&out);
}

static void check_refused(const char *text, const char *line) {
    struct buf out = buf_make(1000);
    struct err err = {0};
    CHECK_INT(config_env_expand(str_from(text), &out, &err), -ESYNTAX);
    CHECK(strstr(err.text, line) != NULL);
    buf_done(&out);
}

static void test_expand(void) {
    (void)setenv("LOGQ_TEST_A", "one", 1);
    (void)setenv("LOGQ_TEST_EMPTY", "", 1);
    (void)unsetenv("LOGQ_TEST_NONE");
    check_expand("", "");
    check_expand("a: $b $$ } {", "a: $b $$ } {");
    check_expand("${LOGQ_TEST_A}", "one");
    check_expand("x${LOGQ_TEST_A}y${LOGQ_TEST_A}", "xoneyone");
    check_expand("[${LOGQ_TEST_NONE}]", "[]");
    check_expand("${LOGQ_TEST_NONE:-two three}", "two three");
    check_expand("${LOGQ_TEST_EMPTY:-two}", "two");
    check_expand("${LOGQ_TEST_NONE-two}${LOGQ_TEST_NONE:two}${LOGQ_TEST_NONE:=two}", "twotwotwo");
    check_expand("${LOGQ_TEST_A:-two}", "one");
    /* What a variable holds is not looked at again. */
    (void)setenv("LOGQ_TEST_B", "${LOGQ_TEST_A}", 1);
    check_expand("${LOGQ_TEST_B}", "${LOGQ_TEST_A}");
}

static void test_refused(void) {
    check_refused("a\n${LOGQ_TEST_A", "line 2");
    check_refused("${}", "line 1");
    check_refused("${1a}", "line 1");
    check_refused("${a b}", "line 1");
    check_refused("\n\n${a?x}", "line 3");
}

static void test_too_long(void) {
    struct buf out = buf_make(4);
    struct err err = {0};
    CHECK_INT(config_env_expand(STR("${LOGQ_TEST_NONE:-longer}"), &out, &err), -E2BIG);
    buf_done(&out);
}

int main(void) {
    RUN(test_expand);
    RUN(test_refused);
    RUN(test_too_long);
    return test_done();
}
