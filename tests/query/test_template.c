#include "pipeline.h"

#include <stdlib.h>

#include "buf.h"
#include "decimal.h"
#include "go_time.h"
#include "parser.h"
#include "stage.h"
#include "template.h"
#include "test.h"
#include "units.h"

#define STR_INIT(literal)                                                                          \
    { .data = "" literal, .size = sizeof(literal) - 1 }

/* A line_format stage with the template, over one stream. */
struct fixture {
    struct pipeline *pipeline;
    struct pipeline_run *run;
};

static const struct label stream_items[] = {
    {STR_INIT("app"), STR_INIT("api")},
    {STR_INIT("big"), STR_INIT("99999999999999999999")},
    {STR_INIT("empty"), STR_INIT("")},
    {STR_INIT("f"), STR_INIT("3.75")},
    {STR_INIT("json"), STR_INIT("{\"a\":{\"b\":[1,\"x\",null,true]},\"n\":1e21,\"s\":\"q\"}")},
    {STR_INIT("ko"), STR_INIT("\xed\x95\x9c\xea\xb8\x80 abc")},
    {STR_INIT("n"), STR_INIT("-12")},
    {STR_INIT("path"), STR_INIT("/api/v1/x")},
};
enum { STREAM_LABELS = sizeof(stream_items) / sizeof(stream_items[0]) };

static bool open_template(struct fixture *f, const char *text, struct err *err) {
    struct stage stage = {.kind = STAGE_LINE_FORMAT};
    stage.text.text = str_from(text);
    struct pipeline_options o = {.needs.all = true};
    *f = (struct fixture){0};
    if (pipeline_compile(&stage, &o, &f->pipeline, err) < 0)
        return false;
    f->run = pipeline_run_new(f->pipeline);
    struct labels labels = {stream_items, STREAM_LABELS};
    pipeline_run_stream(f->run, labels);
    return true;
}

static void close_template(struct fixture *f) {
    pipeline_run_free(f->run);
    pipeline_free(f->pipeline);
}

static struct buf text;

/* The line, or "!" and the error's details. */
static struct str run_template(struct fixture *f) {
    /* 2026-01-05 10:59:48.295001007 UTC */
    struct pipeline_line in = {.line = STR("the line"), .ts_ns = INT64_C(1767610788295001007)};
    struct pipeline_output out;
    buf_clear(&text);
    if (!pipeline_run_line(f->run, &in, &out))
        return STR("dropped");
    const struct line_labels *l = pipeline_run_labels(f->run);
    if (!l)
        return STR("no labels");
    if (l->error.size > 0) {
        struct str details = labels_get(l->merged, STR("__error_details__"));
        struct str place = STR("template: line:");
        buf_add_char(&text, '!');
        buf_add_str(&text,
                    str_starts(details, place) ? str_from_offset(details, place.size) : details);
        CHECK_STR(l->error, STR("TemplateFormatErr"));
        CHECK_STR(out.line, in.line);
    } else {
        buf_add_str(&text, out.line);
    }
    return buf_str(&text);
}

struct row {
    const char *template, *want;
};

static void check_rows(const struct row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        struct fixture f;
        struct err err = {0};
        int before = test_case_failures;
        bool opened = open_template(&f, rows[i].template, &err);
        CHECK(opened);
        if (opened) {
            CHECK_STR(run_template(&f), str_from(rows[i].want));
            CHECK_STR(run_template(&f), str_from(rows[i].want)); /* warm */
        }
        if (test_case_failures != before)
            printf("    in %s %s\n", rows[i].template, err.text);
        close_template(&f);
    }
}
#define CHECK_ROWS(rows) check_rows(rows, sizeof(rows) / sizeof((rows)[0]))

static void actions(void) {
    static const struct row rows[] = {
        {"", ""},
        {"plain } }} text", "plain } }} text"},
        {"{{.app}}", "api"},
        {"{{ .missing }}|", "|"},
        {"{{$x := .app}}", "api"}, /* one field alone is copied */
        {"{{$x := .app}}|", "|"},
        {"a {{- .app -}} b", "aapib"},
        {"a {{- /* c */ -}} b", "ab"},
        {"a {{/* c */}} b", "a  b"},
        {"{{- 3 -}}", "3"},
        {"{{ -3 }}", "-3"},
        {"{{\n.app\n}}x", "apix"},
        {"{{ \"a\\tb\" }}{{ `c\\d` }}{{ 'x' }}", "a\tbc\\d120"},
        {"{{ 0x10 }} {{ 0b11 }} {{ 0o17 }} {{ 017 }} {{ 1_000 }} {{ 1e3 }} {{ 2.50 }}",
         "16 3 15 15 1000 1000 2.5"},
        {"{{ true }} {{ false }}", "true false"},
        {"{{ __line__ }}/{{ __line__ | len }}", "the line/8"},
        {"{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ $x := 3 }}{{ end }}{{ $x }}", "2"},
        {"{{ ($y := 4) }}{{ $y }}", "44"},
        {"{{ printf \"%d\" ($z := 4) }}{{ $z }}", "44"},
        {"{{ (.app | upper) | lower | len }}", "3"},
        {"{{ $.app }} {{ (.).app }}", "api api"},
        {"{{ fromJson .json }}", "map[a:map[b:[1 x <nil> true]] n:1e+21 s:q]"},
        {"{{ (fromJson .json).a.b }}", "[1 x <nil> true]"},
        {"{{ $j := fromJson .json }}{{ $j.a.c }} {{ $j.x }}", "<no value> <no value>"},
        {"{{ $j := fromJson .json }}{{ index $j \"a\" \"b\" 1 }}", "x"},
        {"{{ fromJson \"nonsense\" }}{{ fromJson \"1 2\" }}", "<no value><no value>"},
        {"{{ fromJson \"{\\\"a\\\":1,\\\"a\\\":2}\" }}", "map[a:2]"},
    };
    CHECK_ROWS(rows);
}

static void blocks(void) {
    static const struct row rows[] = {
        {"{{ if .empty }}a{{ else if .app }}b{{ else }}c{{ end }}", "b"},
        {"{{ if not .app }}a{{ else if .empty }}b{{ else }}c{{ end }}", "c"},
        {"{{ with .app }}{{ . }}{{ end }}{{ with .empty }}a{{ else }}b{{ end }}", "apib"},
        {"{{ with .empty }}a{{ else with .app }}{{ . }}{{ else }}c{{ end }}", "api"},
        {"{{ with $x := .app }}{{ $x }}{{ end }}", "api"},
        {"{{ range (fromJson .json).a.b }}<{{ . }}>{{ end }}", "<1><x><<no value>><true>"},
        {"{{ range $i, $e := (fromJson .json).a.b }}{{ $i }}{{ $e }};{{ end }}",
         "01;1x;2<no value>;3true;"},
        {"{{ range $k, $v := fromJson \"{\\\"b\\\":1,\\\"a\\\":2}\" }}{{ $k }}{{ $v }}{{ end }}",
         "a2b1"},
        {"{{ range fromJson \"[]\" }}x{{ else }}none{{ end }}", "none"},
        {"{{ range nothing }}", NULL},
        {"{{ range 3 }}{{ . }}{{ end }}", "012"},
        {"{{ range $i := 3 }}{{ if eq $i 1 }}{{ continue }}{{ end }}{{ $i }}{{ end }}", "02"},
        {"{{ range $i := 9 }}{{ if eq $i 2 }}{{ break }}{{ end }}{{ $i }}{{ end }}", "01"},
        {"{{ $s := 0 }}{{ range 4 }}{{ $s = add $s . }}{{ end }}{{ $s }}", "6"},
        {"{{ range $k, $v := . }}{{ if hasPrefix \"a\" $k }}{{ $k }}={{ $v }}{{ end }}{{ end }}",
         "app=api"},
        {"{{ if $x := .app }}{{ $x }}{{ end }}", "api"},
        {"{{ and .app .empty }}|{{ or .empty .app }}|{{ and 1 0 2 }}|{{ or 0 \"\" 3 }}",
         "|api|0|3"},
        {"{{ and false (div 1 0) }} {{ or true (div 1 0) }}", "false true"}, /* not evaluated */
        {"{{ .app | and true }} {{ .empty | or 0 }}|", "api |"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].want)
            check_rows(&rows[i], 1);
}

static void comparison(void) {
    static const struct row rows[] = {
        {"{{ eq .app \"api\" }} {{ eq .app \"x\" \"api\" }} {{ ne .app \"x\" }}", "true true true"},
        {"{{ lt 1 2 }} {{ le 2 2 }} {{ gt 1.5 2.5 }} {{ ge \"b\" \"a\" }}", "true true false true"},
        {"{{ eq (add 1 1) 2 }} {{ lt (int .n) 0 }}", "true true"},
        {"{{ eq (index \"a\" 0) 97 }}", "true"},
        {"{{ eq .x nil }}", "false"},
        {"{{ eq 1 1.0 }}",
         "!1:3: executing \"line\" at <eq 1 1.0>: error calling eq: incompatible types for "
         "comparison: int and float64"},
        {"{{ lt true false }}",
         "!1:3: executing \"line\" at <lt true false>: error calling lt: invalid type for "
         "comparison"},
        {"{{ eq 1 }}",
         "!1:3: executing \"line\" at <eq 1>: error calling eq: missing argument for comparison"},
        {"{{ eq (fromJson \"[1]\") 1 }}", "!1:3: executing \"line\" at <eq (fromJson \"[1]\") 1>: "
                                          "error calling eq: incompatible types "
                                          "for comparison: []interface {} and int"},
        {"{{ eq (fromJson \"[]\") (fromJson \"[\\\"a\\\"]\") }}",
         "!1:3: executing \"line\" at <eq (fromJson \"[]\") (fromJson \"[\\\"a\\\"]\")>: error "
         "calling "
         "eq: non-comparable type [a]: []interface {}"},
        {"{{ index .app 3 }}", "!1:3: executing \"line\" at <index .app 3>: error calling index: "
                               "reflect: string index out of range"},
        {"{{ index .app 4 }}", "!1:3: executing \"line\" at <index .app 4>: error calling index: "
                               "index out of range: 4"},
        {"{{ slice .app 1 }} {{ slice .app 1 2 }} {{ slice (fromJson \"[1,2,3]\") 1 }}",
         "pi p [2 3]"},
        {"{{ slice .app 2 1 }}", "!1:3: executing \"line\" at <slice .app 2 1>: error calling "
                                 "slice: invalid slice index: 2 "
                                 "> 1"},
        {"{{ index .path 0 }} {{ index . \"app\" }} {{ index . \"none\" }}|", "47 api |"},
        {"{{ len . }} {{ len (fromJson \"[1,2]\") }} {{ len .ko }}", "8 2 10"},
        {"{{ len 3 }}", "!1:3: executing \"line\" at <len 3>: error calling len: len of type int"},
    };
    CHECK_ROWS(rows);
}

static void errors(void) {
    static const struct row rows[] = {
        {"{{ div 1 0 }}",
         "!1:3: executing \"line\" at <div 1 0>: error calling div: runtime error: "
         "integer divide by zero"},
        {"ab\ncd{{ .app | div 1 }}", "!2:12: executing \"line\" at <div 1>: error calling div: "
                                     "runtime error: integer divide by "
                                     "zero"},
        {"{{ .app.x }}",
         "!1:7: executing \"line\" at <.app.x>: can't evaluate field x in type string"},
        {"{{ .app 1 }}",
         "!1:3: executing \"line\" at <.app>: app is not a method but has arguments"},
        {"{{ 1 2 }}", "!1:3: executing \"line\" at <1>: can't give argument to non-function 1"},
        {"{{ nil }}", "!1:3: executing \"line\" at <nil>: nil is not a command"},
        {"{{ upper 3 }}", "!1:9: executing \"line\" at <3>: expected string; found 3"},
        {"{{ trunc .app .app }}",
         "!1:9: executing \"line\" at <.app>: wrong type for value; expected int; got string"},
        {"{{ 3 | upper }}",
         "!1:7: executing \"line\" at <upper>: wrong type for value; expected string; got int"},
        {"{{ upper }}",
         "!1:3: executing \"line\" at <upper>: wrong number of args for upper: want 1 "
         "got 0"},
        {"{{ printf }}",
         "!1:3: executing \"line\" at <printf>: wrong number of args for printf: want "
         "at least 1 got 0"},
        {"{{ upper nil }}", "!1:9: executing \"line\" at <nil>: cannot assign nil to string"},
        {"{{ $j := fromJson .json }}{{ upper $j.x }}",
         "!1:37: executing \"line\" at <$j.x>: wrong type for value; expected string; got "
         "interface "
         "{}"},
        {"{{ unixEpoch \"x\" }}",
         "!1:13: executing \"line\" at <\"x\">: can't handle \"x\" for arg of type time.Time"},
        {"{{ range .app }}{{ end }}",
         "!1:9: executing \"line\" at <.app>: range can't iterate over api"},
        {"{{ $x = 1 }}{{ $y := 1 }}", "!1:8: executing \"line\" at <1>: undefined variable: $x"},
        {"{{ 99999999999999999999.0 | len }}",
         "!1:28: executing \"line\" at <len>: error calling len: len of type float64"},
        {"{{ 0xffffffffffffffff }}",
         "!1:3: executing \"line\" at <0xffffffffffffffff>: 0xffffffffffffffff overflows int"},
        {"{{ repeat -1 .app }}",
         "!1:3: executing \"line\" at <repeat -1 .app>: error calling repeat: "
         "strings: negative Repeat count"},
        {"{{ substr 1 99 .app | substr 5 9 }}", "!1:22: executing \"line\" at <substr 5 9>: error "
                                                "calling substr: runtime error: slice bounds "
                                                "out of range [5:2]"},
        {"{{ regexReplaceAll \"(\" .app \"\" }}",
         "!1:3: executing \"line\" at <regexReplaceAll \"(\" .app \"\">: error calling "
         "regexReplaceAll: error parsing regexp: missing closing ): `(`"},
        {"{{ unixToTime \"abcde\" }}",
         "!1:3: executing \"line\" at <unixToTime \"abcde\">: error calling unixToTime: unable to "
         "parse "
         "time 'abcde': strconv.ParseInt: parsing \"abcde\": invalid syntax"},
        {"{{ call .app }}", "!1:3: executing \"line\" at <call .app>: error calling call: "
                            "non-function of type string"},
        {"{{ repeat 2000000 \"x\" }}",
         "!1:18: executing \"line\" at <\"x\">: a text is longer than 1048576 bytes"},
        {"{{ range 600000 }}ab{{ end }}",
         "!1:18: executing \"line\" at <ab>: the result is longer than 1048576 bytes"},
        {"{{ range 2000000 }}{{ end }}",
         "!1:9: executing \"line\" at <2000000>: more than 1048576 steps for one line"},
    };
    CHECK_ROWS(rows);
}

static void refused(void) {
    static const struct row rows[] = {
        {"{{ .x ", "unclosed action"},
        {"{{ if }}x{{ end }}", "missing value for if"},
        {"{{ nosuch .x }}", "function \"nosuch\" not defined"},
        {"{{ trimSpace .x }}", "function \"trimSpace\" not defined"},
        {"{{ $x }}", "undefined variable \"$x\""},
        {"{{ if .x }}{{ $y := 1 }}{{ end }}{{ $y }}", "undefined variable \"$y\""},
        {"{{ end }}", "unexpected {{end}}"},
        {"{{ else }}", "unexpected {{else}}"},
        {"{{ if .x }}", "unexpected EOF"},
        {"{{ if .x }}{{ else }}{{ else }}{{ end }}", "expected end; found {{else}}"},
        {"{{ range .x }}{{ else if .y }}{{ end }}", "unexpected <if> in input"},
        {"{{ (.x }}", "unclosed left paren"},
        {"{{ .x) }}", "unexpected right paren"},
        {"{{ .x | 3 }}", "non executable command in pipeline stage 2"},
        {"{{ \"a }}", "unterminated quoted string"},
        {"{{ `a }}", "unterminated raw quoted string"},
        {"{{ 'a }}", "unterminated character constant"},
        {"{{ 'ab' }}", "malformed character constant: 'ab'"},
        {"{{ 3x }}", "bad number syntax: \"3x\""},
        {"{{ 99999999999999999999 }}", "integer overflow: \"99999999999999999999\""},
        {"{{ 1i }}", "complex numbers are not supported: \"1i\""},
        {"{{ /* x }}", "unexpected \"/\" in command"},
        {"{{/* x }}", "unclosed comment"},
        {"{{/* x */ y }}", "comment ends before closing delimiter"},
        {"{{ .x$ }}", "bad character U+0024 '$'"},
        {"{{ 3.y }}", "bad number syntax: \"3.y\""},
        {"{{ nil.y }}", "unexpected . after term \"nil\""},
        {"{{ break }}", "{{break}} outside {{range}}"},
        {"{{ range .x }}{{ break 3 }}{{ end }}", "unexpected \"3\" in {{break}}"},
        {"{{ $a, $b := .x }}", "too many declarations in command"},
        {"{{ range $a, $b, $c := .x }}{{ end }}", "too many declarations in range"},
        {"{{ range $a, .x }}{{ end }}", "range can only initialize variables"},
        {"{{ .x ; }}", "unexpected \";\" in operand"},
        {"{{ : }}", "expected :="},
        {"{{ \x01 }}", "unrecognized character in action: U+0001"},
        {"{{ define \"x\" }}{{ end }}", "unexpected <define> in command"},
        {"{{ template \"x\" }}", "unexpected <template> in command"},
        {"{{ block \"x\" . }}{{ end }}", "unexpected <block> in command"},
        {"a\nb{{\n.x\n|\n nosuch }}", NULL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct fixture f;
        struct err err = {0};
        CHECK(!open_template(&f, rows[i].template, &err));
        const char *want = rows[i].want ? rows[i].want : "line:5: function \"nosuch\" not defined";
        if (!strstr(err.text, want)) {
            test_case_failures++;
            printf("  %s: %s, want %s\n", rows[i].template, err.text, want);
        }
        close_template(&f);
    }
}

/* Deep nesting is refused rather than followed. */
static void deep(void) {
    struct buf deep_text = buf_make(BUF_NO_MAX);
    static const char *const parts[] = {"(", "{{if .a}}"};
    for (int kind = 0; kind < 2; kind++) {
        buf_clear(&deep_text);
        if (kind == 0)
            buf_add_str(&deep_text, STR("{{"));
        for (int i = 0; i < 10000; i++)
            buf_add_str(&deep_text, str_from(parts[kind]));
        buf_add_char(&deep_text, '\0');
        struct fixture f;
        struct err err = {0};
        CHECK(!open_template(&f, deep_text.data, &err));
        CHECK(strstr(err.text, "nested more than 100 deep") != NULL);
        close_template(&f);
    }
    buf_done(&deep_text);
}

static void texts(void) {
    static const struct row rows[] = {
        {"{{ upper .ko }} {{ ToLower \"ÄB\" }} {{ title \"ab c_d-e ñu\" }}",
         "\xed\x95\x9c\xea\xb8\x80 ABC äb Ab C_d-E Ñu"},
        {"{{ trunc 3 .path }} {{ trunc -3 .path }} {{ trunc 0 .path }}| {{ trunc 99 .app }}",
         "/ap 1/x | api"},
        {"{{ substr 0 2 .app }} {{ substr -1 2 .app }} {{ substr 1 -1 .app }} {{ substr 1 99 .app "
         "}}",
         "ap ap pi pi"},
        {"{{ replace \"a\" \"b\" .app }} {{ Replace \"aaa\" \"a\" \"b\" 2 }} {{ replace \"\" \"-\" "
         "\"ab\" }}",
         "bpi bba -a-b-"},
        {"{{ trim \" \\u00a0x\\t\" }}|{{ trimAll \"/x\" .path }}|{{ Trim \"xxaxx\" \"x\" }}",
         "x|api/v1|a"},
        {"{{ trimPrefix \"/\" .path }} {{ trimSuffix \"x\" .path }} {{ TrimLeft .path \"/a\" }} "
         "{{ TrimRight .path \"x/\" }} {{ TrimPrefix .path \"/api\" }} {{ TrimSuffix .path \"/x\" "
         "}}",
         "api/v1/x /api/v1/ pi/v1/x /api/v1 /v1/x /api/v1"},
        {"{{ contains \"pi\" .app }} {{ hasPrefix \"a\" .app }} {{ hasSuffix \"a\" .app }}",
         "true true false"},
        {"{{ repeat 3 \"ab\" }} {{ indent 2 \"a\\nb\" }} {{ nindent 1 \"a\" }}",
         "ababab   a\n  b \n a"},
        {"{{ alignLeft 5 .app }}|{{ alignRight 5 .app }}|{{ alignLeft 2 .ko }}|{{ alignRight 2 "
         ".app }}",
         "api  |  api|\xed\x95\x9c\xea\xb8\x80|pi"},
        {"{{ regexReplaceAll \"(a)(p)\" .app \"${2}$1\" }} {{ regexReplaceAllLiteral \"a\" .app "
         "\"$1\" }}",
         "pai $1pi"},
        {"{{ regexReplaceAll \"x*\" \"abxd\" \"-\" }}", "-a-b-d-"},
        {"{{ count \"a*\" \"baaac\" }} {{ count \"/\" .path }} {{ \"\" | count \"\" }}", "3 3 1"},
        {"{{ urlencode \"a b/ü\" }} {{ urldecode \"a+b%2F\" }} {{ urlquery \"a&\" 1 }}",
         "a+b%2F%C3%BC a b/ a%261"},
        {"{{ b64enc \"hello\" }} {{ b64dec \"aGVsbG8=\" }} {{ b64dec \"!!\" }} {{ b64dec \"aGk\" "
         "}}",
         "aGVsbG8= hello illegal base64 data at input byte 0 illegal base64 data at input byte 0"},
        {"{{ default \"x\" .empty }} {{ default \"x\" .app }} {{ .none | default 3 }}", "x api 3"},
        {"{{ html \"<a&'\\\">\" }} {{ js \"<'\\\"&=\\n\" }}",
         "&lt;a&amp;&#39;&#34;&gt; \\u003C\\'\\\"\\u0026\\u003D\\u000A"},
        {"{{ print 1 2 \"a\" 3 \"b\" \"c\" nil }}|{{ println 1 \"a\" }}", "1 2a3bc<nil>|1 a\n"},
    };
    CHECK_ROWS(rows);
}

static void formats(void) {
    static const struct row rows[] = {
        {"{{ printf \"%d %5d|%-5d|%05d %+d %x %X %o %b %c %U %q\" 42 42 42 42 42 255 255 8 5 65 "
         "0x1F600 65 }}",
         "42    42|42   |00042 +42 ff FF 10 101 A U+1F600 'A'"},
        {"{{ printf \"%#x %#o %O %#b %#U % d %08.3d\" 255 8 8 5 65 7 7 }}",
         "0xff 010 0o10 0b101 U+0041 'A'  7      007"},
        {"{{ printf \"%s|%5s|%-5s|%.2s|%q|%x|%X|% x\" \"abc\" \"abc\" \"abc\" \"abc\" \"a\\\"b\" "
         "\"hi\" \"hi\" \"hi\" }}",
         "abc|  abc|abc  |ab|\"a\\\"b\"|6869|6869|68 69"},
        {"{{ printf \"%v %v %v %v %t\" 1 1.5 \"a\" true false }}", "1 1.5 a true false"},
        {"{{ printf \"%f %.2f %8.3f %e %g %g %G %6.1f|%-8.2f|%+.1f\" 3.14159 3.14159 3.14159 "
         "1234.5678 1e21 0.00001 1e-7 2.25 2.5 2.5 }}",
         "3.141590 3.14    3.142 1.234568e+03 1e+21 1e-05 1E-07    2.2|2.50    |+2.5"},
        {"{{ printf \"%d %s %z %d\" \"x\" 3 4 }}",
         "%!d(string=x) %!s(int=3) %!z(int=4) %!d(MISSING)"},
        {"{{ printf \"%d\" 1 2 \"x\" }}", "1%!(EXTRA int=2, string=x)"},
        {"{{ printf \"%\" }} {{ printf \"%%\" }} {{ printf \"%!\" 1 }}", "%!(NOVERB) % %!!(int=1)"},
        {"{{ printf \"%*d|%-*d|%.*f\" 5 1 4 2 1 2.55 }}", "    1|2   |2.5"},
        {"{{ printf \"%[2]d %[1]d %[5]d\" 1 2 }}", "2 1 %!d(BADINDEX)"},
        {"{{ printf \"%v %d\" nil nil }}", "<nil> %!d(<nil>)"},
        {"{{ printf \"%T %T %T %T\" 1 \"a\" 1.5 (add 1) }}", "int string float64 int64"},
        {"{{ printf \"%v %d\" (fromJson \"[1,null]\") (fromJson \"[1]\") }}",
         "[1 <nil>] [%!d(float64=1)]"},
        {"{{ printf \"%5t|%q\" true .ko }}", " true|\"\xed\x95\x9c\xea\xb8\x80 abc\""},
        {"{{ printf \"%5s|%-6s|\" (substr 0 3 .ko) (substr 0 3 .ko) }}",
         "    \xed\x95\x9c|\xed\x95\x9c     |"},
        {"{{ 1e6 }} {{ 123456.0 }} {{ -0.0 }} {{ 1e-5 }} {{ float64 \"+Inf\" }} {{ float64 \"nan\" "
         "}}",
         "1e+06 123456 -0 1e-05 +Inf NaN"},
        {"{{ printf \"%v %6.2f|%06.2f|%06d\" (float64 \"-Inf\") (float64 \"NaN\") (float64 "
         "\"Inf\") -42 }}",
         "-Inf    NaN|  +Inf|-00042"},
    };
    CHECK_ROWS(rows);
}

static void numbers(void) {
    static const struct row rows[] = {
        {"{{ add 1 2 3 }} {{ add }} {{ sub 5 7 }} {{ mul 2 3 4 }} {{ div 7 2 }} {{ mod -7 3 }}",
         "6 0 -2 24 3 -1"},
        {"{{ int .f }} {{ int \"-3.9\" }} {{ int \".5\" }} {{ int \"1e3\" }} {{ int \"0x1f\" }} {{ "
         "int "
         "\"010\" }} {{ int \"x\" }} {{ int true }} {{ int 2.9 }} {{ int .big }}",
         "3 -3 0 0 31 8 0 1 2 0"},
        {"{{ float64 .f }} {{ float64 \"x\" }} {{ float64 7 }}", "3.75 0 7"},
        {"{{ addf 0.1 0.2 }} {{ subf 0.3 0.1 }} {{ mulf 1.1 1.1 }} {{ divf 1 3 }} {{ divf 2 3 }}",
         "0.3 0.2 1.21 0.3333333333333333 0.6666666666666667"},
        {"{{ addf .f .n }} {{ mulf 1e300 1e300 }} {{ divf -1 3 }} {{ divf 1e-20 1 }} {{ subf 1 1 "
         "}}",
         "-8.25 +Inf -0.3333333333333333 0 0"},
        {"{{ divf 1 0 }}", "!1:3: executing \"line\" at <divf 1 0>: error calling divf: decimal "
                           "division by 0"},
        {"{{ addf \"nan\" }}",
         "!1:3: executing \"line\" at <addf \"nan\">: error calling addf: Cannot "
         "create a Decimal from NaN"},
        {"{{ max 1 \"7\" 3 }} {{ min 1 -2 3 }} {{ maxf 1.5 2 }} {{ minf 1.5 2 }}", "7 -2 2 1.5"},
        {"{{ floor 2.7 }} {{ ceil 2.1 }} {{ floor \"-2.1\" }} {{ round 2.345 2 }} {{ round 2.5 0 "
         "}} "
         "{{ round -2.5 0 }} {{ round 123.4 -1 }} {{ round 2.4 0 0.3 }}",
         "2 3 -3 2.35 3 -3 120 3"},
        {"{{ duration \"1m30s\" }} {{ duration_seconds \"250ms\" }} {{ bytes \"2KiB\" }} {{ bytes "
         "\"1kB\" }}",
         "90 0.25 2048 1000"},
        {"{{ bytes \"x\" }}", "!1:3: executing \"line\" at <bytes \"x\">: error calling bytes: "
                              "strconv.ParseFloat: parsing \"\": invalid syntax"},
    };
    CHECK_ROWS(rows);
}

static void times(void) {
    static const struct row rows[] = {
        {"{{ __timestamp__ }}", "2026-01-05 10:59:48.295001007 +0000 UTC"},
        {"{{ __timestamp__ | date \"Mon Jan _2 15:04:05.000 2006 PM MST -07:00 Z0700\" }}",
         "Mon Jan  5 10:59:48.295 2026 AM UTC +00:00 Z"},
        {"{{ date \"Monday January 02 03:04pm 06 .999999999 002\" __timestamp__ }}",
         "Monday January 05 10:59am 26 .295001007 005"},
        {"{{ date \"2006-01-02\" 86400 }} {{ date \"2006-01-02\" (add 86400 86400) }}",
         "1970-01-02 1970-01-03"},
        {"{{ __timestamp__ | unixEpoch }} {{ __timestamp__ | unixEpochMillis }} "
         "{{ __timestamp__ | unixEpochNanos }}",
         "1767610788 1767610788295 1767610788295001007"},
        {"{{ unixToTime \"1767610788\" }} {{ unixToTime \"1767610788295\" }} {{ unixToTime "
         "\"20458\" }}",
         "2026-01-05 10:59:48 +0000 UTC 2026-01-05 10:59:48.295 +0000 UTC 2026-01-05 00:00:00 "
         "+0000 "
         "UTC"},
        {"{{ unixToTime \"9999999999999\" | unixEpochNanos }}", "-8446744073710551616"},
        {"{{ toDate \"2006-01-02\" \"2024-02-29\" }} {{ toDate \"2006-01-02\" \"2023-02-29\" }}",
         "2024-02-29 00:00:00 +0000 UTC 0001-01-01 00:00:00 +0000 UTC"},
        {"{{ toDate \"2006-01-02T15:04:05Z07:00\" \"2026-01-05T10:00:00.5+09:00\" }}",
         "2026-01-05 10:00:00.5 +0900 +0900"},
        {"{{ toDate \"Jan 2 2006 3:04PM MST\" \"feb 3 2021 12:30AM PDT\" }}",
         "2021-02-03 00:30:00 +0000 PDT"},
        {"{{ toDateInZone \"2006-01-02 15:04\" \"America/New_York\" \"2026-07-05 10:59\" }}",
         "2026-07-05 10:59:00 -0400 EDT"},
        {"{{ toDateInZone \"2006-01-02 15:04\" \"America/New_York\" \"2046-01-05 10:59\" }}",
         "2046-01-05 10:59:00 -0500 EST"},
        {"{{ toDateInZone \"2006-01-02 15:04\" \"Europe/Berlin\" \"2026-03-29 02:30\" | unixEpoch "
         "}}",
         "1774747800"},
        {"{{ toDateInZone \"2006-01-02\" \"../../etc/passwd\" \"2026-01-05\" }}",
         "2026-01-05 00:00:00 +0000 UTC"},
        {"{{ (toDateInZone \"2006\" \"Asia/Seoul\" \"2026\").Format \"MST -0700\" }}", "KST +0900"},
        {"{{ __timestamp__.Year }}", NULL},
        {"{{ (__timestamp__).Year }} {{ (__timestamp__).Month }} {{ (__timestamp__).Weekday }} "
         "{{ printf \"%d\" (__timestamp__).Month }} {{ (__timestamp__).YearDay }}",
         "2026 January Monday 1 5"},
        {"{{ ((__timestamp__).AddDate 0 1 30).Format \"2006-01-02\" }}", "2026-03-07"},
        {"{{ (__timestamp__).Add 60000000000 | date \"15:04\" }}", "11:00"},
        {"{{ (__timestamp__).Sub (unixToTime \"1767610788\") }}", "295.001007ms"},
        {"{{ if (now).After __timestamp__ }}y{{ end }}", "y"},
        {"{{ (__timestamp__).Nope }}",
         "!1:4: executing \"line\" at <__timestamp__>: can't evaluate field Nope in type "
         "time.Time"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].want)
            check_rows(&rows[i], 1);
}

/* As the pipeline uses it: label_format, errors, what later stages see. */
static void stages(void) {
    static const struct {
        const char *query, *line, *want;
    } rows[] = {
        {"{a=\"b\"} | logfmt | label_format x=`{{ .k | upper }}`,y=`{{ .x }}`", "k=v x=0", "V,0"},
        {"{a=\"b\"} | logfmt | label_format x=`{{ div 1 0 }}`,y=`{{ .k }}`", "k=v x=0", "0,v"},
        {"{a=\"b\"} | logfmt | line_format `{{ .k }}` | label_format x=`{{ __line__ }}`", "k=v",
         "v,"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct parsed_query *query;
        struct pipeline *p;
        struct pipeline_options o = {.needs.all = true};
        CHECK(query_parse(str_from(rows[i].query), &query, NULL) == 0);
        CHECK(pipeline_compile(parsed_query_expr(query)->log.stages, &o, &p, NULL) == 0);
        struct pipeline_run *run = pipeline_run_new(p);
        struct pipeline_line in = {.line = str_from(rows[i].line)};
        struct pipeline_output out;
        CHECK(pipeline_run_line(run, &in, &out));
        struct labels merged = pipeline_run_labels(run)->merged;
        buf_clear(&text);
        buf_add_str(&text, labels_get(merged, STR("x")));
        buf_add_char(&text, ',');
        buf_add_str(&text, labels_get(merged, STR("y")));
        CHECK_STR(buf_str(&text), str_from(rows[i].want));
        pipeline_run_free(run);
        pipeline_free(p);
        parsed_query_free(query);
    }
}

/* Decimal arithmetic agrees with that of doubles where both are exact. */
static void decimals(void) {
    struct arena a = arena_make(1 << 20);
    for (int i = -60; i <= 60; i++) {
        for (int j = -60; j <= 60; j += 7) {
            struct decimal x, y, z;
            double got = 0;
            arena_reset(&a);
            CHECK(decimal_from_double(&a, i * 0.25, &x) && decimal_from_double(&a, j * 1024.0, &y));
            CHECK(decimal_add(&a, &x, &y, &z) && decimal_to_double(&a, &z, &got));
            CHECK(got == i * 0.25 + j * 1024.0);
            CHECK(decimal_multiply(&a, &x, &y, &z) && decimal_to_double(&a, &z, &got));
            CHECK(got == i * 0.25 * j * 1024.0);
            if (j == 0)
                continue;
            CHECK(decimal_divide(&a, &y, &y, &z) && decimal_to_double(&a, &z, &got));
            CHECK(got == 1);
        }
    }
    arena_done(&a);
}

int main(void) {
    text = buf_make(BUF_NO_MAX);
    RUN(actions);
    RUN(blocks);
    RUN(comparison);
    RUN(errors);
    RUN(refused);
    RUN(deep);
    RUN(texts);
    RUN(formats);
    RUN(numbers);
    RUN(times);
    RUN(stages);
    RUN(decimals);
    buf_done(&text);
    return test_done();
}
