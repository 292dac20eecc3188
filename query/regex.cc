/* RE2 behind C. What differs from Go is evened out here: `(?<name>` is spelled `(?P<name>` for RE2; names that stand
 * twice are allowed (the second becomes a nameless group for RE2); `\C` is refused; messages have Go's wording.
 *
 * RE2 in UTF-8 mode never matches a byte that is no UTF-8, Go lets "." match it. Text that is not valid UTF-8 is
 * therefore matched by a twin that takes bytes for characters. */
extern "C" {
#include "err.h"
}
#include "regex.h"

#include "byteseq.h"
#include "runseq.h"

#include <re2/re2.h>

#include <cerrno>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <vector>

extern "C" bool utf8_valid(struct str s);

struct regex {
    regex() = default;
    regex(const regex &) = delete;
    regex &operator=(const regex &) = delete;
    ~regex() {
        byteseq_free(bytes);
        runseq_free(runs);
    }
    std::string pattern;            /* as given */
    std::string rewritten;          /* for RE2 */
    std::vector<std::string> names; /* of groups 1.. */
    bool anchored = false;
    /* Either says the same as RE2 whether there is a match, sooner. */
    struct byteseq *bytes = nullptr;
    struct runseq *runs = nullptr;
    std::unique_ptr<RE2> utf8;
    mutable std::once_flag latin1_once; /* guards the making of latin1 */
    mutable std::unique_ptr<RE2> latin1;
};

namespace {

RE2::Options options_for(const regex &re, RE2::Options::Encoding encoding) {
    RE2::Options options;
    options.set_encoding(encoding);
    options.set_max_mem(REGEX_MEMORY_MAX);
    options.set_log_errors(false);
    options.set_dot_nl(re.anchored);
    return options;
}

bool is_known(const std::vector<std::string> &names, const std::string &name) {
    for (const std::string &n : names)
        if (!name.empty() && n == name)
            return true;
    return false;
}

/* Copies a group's opening, "(" at `at`; returns the offset behind what was copied. */
size_t rewrite_group(const std::string &in, size_t at, regex &re) {
    size_t name_start = 0;
    if (in.compare(at, 4, "(?P<") == 0)
        name_start = at + 4;
    else if (in.compare(at, 3, "(?<") == 0)
        name_start = at + 3;
    size_t name_end = name_start ? in.find('>', name_start) : std::string::npos;
    if (name_start && name_end != std::string::npos) {
        std::string name = in.substr(name_start, name_end - name_start);
        re.rewritten += is_known(re.names, name) ? "(" : "(?P<" + name + ">";
        re.names.push_back(name);
        return name_end + 1;
    }
    if (in.compare(at, 2, "(?") != 0)
        re.names.push_back("");
    re.rewritten += '(';
    return at + 1;
}

/* Copies a class, "[" at `at`. A "]" right behind "[" or "[^" is a member. */
size_t rewrite_class(const std::string &in, size_t at, regex &re) {
    size_t end = at + 1;
    if (end < in.size() && in[end] == '^')
        end++;
    if (end < in.size() && in[end] == ']')
        end++;
    while (end < in.size() && in[end] != ']') {
        if (in[end] == '\\') {
            end += 2;
        } else if (in.compare(end, 2, "[:") == 0) {
            size_t close = in.find(":]", end + 2);
            end = close == std::string::npos ? end + 1 : close + 2;
        } else {
            end++;
        }
    }
    end = end < in.size() ? end + 1 : in.size();
    re.rewritten.append(in, at, end - at);
    return end;
}

/* False when the pattern holds `\C`, which matches a single byte in RE2 and is an error in Go. */
bool rewrite(regex &re) {
    const std::string &in = re.pattern;
    for (size_t at = 0; at < in.size();) {
        if (in.compare(at, 2, "\\Q") == 0) {
            size_t end = in.find("\\E", at + 2);
            end = end == std::string::npos ? in.size() : end + 2;
            re.rewritten.append(in, at, end - at);
            at = end;
        } else if (in[at] == '\\') {
            if (in.compare(at, 2, "\\C") == 0)
                return false;
            re.rewritten.append(in, at, 2);
            at += 2;
        } else if (in[at] == '[') {
            at = rewrite_class(in, at, re);
        } else if (in[at] == '(') {
            at = rewrite_group(in, at, re);
        } else {
            re.rewritten += in[at++];
        }
    }
    return true;
}

const char *go_wording(RE2::ErrorCode code) {
    switch (code) {
    case RE2::ErrorBadEscape:
        return "invalid escape sequence";
    case RE2::ErrorBadCharClass:
        return "invalid character class";
    case RE2::ErrorBadCharRange:
        return "invalid character class range";
    case RE2::ErrorMissingBracket:
        return "missing closing ]";
    case RE2::ErrorMissingParen:
        return "missing closing )";
    case RE2::ErrorUnexpectedParen:
        return "unexpected )";
    case RE2::ErrorTrailingBackslash:
        return "trailing backslash at end of expression";
    case RE2::ErrorRepeatArgument:
        return "missing argument to repetition operator";
    case RE2::ErrorRepeatSize:
        return "invalid repeat count";
    case RE2::ErrorRepeatOp:
        return "invalid nested repetition operator";
    case RE2::ErrorBadPerlOp:
        return "invalid or unsupported Perl syntax";
    case RE2::ErrorBadUTF8:
        return "invalid UTF-8";
    case RE2::ErrorBadNamedCapture:
        return "invalid named capture";
    case RE2::ErrorPatternTooLarge:
        return "expression too large";
    case RE2::NoError:
    case RE2::ErrorInternal:
        break;
    }
    return "internal error";
}

int refuse(struct err *reterr, const char *wording, const std::string &argument) {
    return err_set(reterr, -ESYNTAX, "error parsing regexp: %s: `%.*s`", wording,
                   static_cast<int>(argument.size()), argument.c_str());
}

int refuse_re2(const regex &re, const RE2 &compiled, struct err *reterr) {
    std::string argument = compiled.error_arg();
    RE2::ErrorCode code = compiled.error_code();
    if (argument == re.rewritten || code == RE2::ErrorPatternTooLarge)
        argument = re.pattern;
    if (code == RE2::ErrorTrailingBackslash)
        argument.clear();
    return refuse(reterr, go_wording(code), argument);
}

/* Go takes ASCII word characters in group names only. */
const std::string *bad_name(const regex &re) {
    for (const std::string &name : re.names)
        for (char c : name)
            if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '_'))
                return &name;
    return nullptr;
}

int compile(regex &re, struct err *reterr) {
    if (!utf8_valid(str{re.pattern.data(), re.pattern.size()}))
        return refuse(reterr, "invalid UTF-8", re.pattern);
    if (!rewrite(re))
        return refuse(reterr, "invalid escape sequence", "\\C");
    if (const std::string *name = bad_name(re)) {
        std::string opening = "(?P<" + *name + ">";
        if (re.pattern.find(opening) == std::string::npos)
            opening = "(?<" + *name + ">";
        return refuse(reterr, "invalid named capture", opening);
    }
    re.utf8.reset(new RE2(re.rewritten, options_for(re, RE2::Options::EncodingUTF8)));
    if (!re.utf8->ok())
        return refuse_re2(re, *re.utf8, reterr);
    /* Should the two ever count differently, RE2 is right. */
    re.names.resize(static_cast<size_t>(re.utf8->NumberOfCapturingGroups()));
    return 0;
}

const RE2 &twin(const regex &re) {
    std::call_once(re.latin1_once, [&re] {
        std::unique_ptr<RE2> made(
            new RE2(re.rewritten, options_for(re, RE2::Options::EncodingLatin1)));
        if (made->ok())
            re.latin1 = std::move(made);
    });
    return re.latin1 ? *re.latin1 : *re.utf8;
}

RE2::Anchor anchor_of(const regex &re) {
    return re.anchored ? RE2::ANCHOR_BOTH : RE2::UNANCHORED;
}

} // namespace

int regex_compile(struct str pattern, bool anchored, struct regex **ret, struct err *reterr) try {
    if (pattern.size > REGEX_PATTERN_MAX)
        return err_set(reterr, -ESYNTAX,
                       "error parsing regexp: expression is %zu bytes long, limit is %d",
                       pattern.size, static_cast<int>(REGEX_PATTERN_MAX));
    std::unique_ptr<regex> re(new regex);
    if (pattern.size > 0)
        re->pattern.assign(pattern.data, pattern.size);
    re->anchored = anchored;
    int r = compile(*re, reterr);
    if (r < 0)
        return r;
    if (!anchored) {
        re->bytes = byteseq_new(pattern);
        re->runs = re->bytes ? nullptr : runseq_new(pattern);
    }
    *ret = re.release();
    return 0;
} catch (const std::bad_alloc &) {
    return err_set(reterr, -ENOMEM, "not enough memory for a regular expression");
}

void regex_free(struct regex *re) {
    delete re;
}

/* Most lines do not match and are valid UTF-8, so validity is looked at last. */
bool regex_matches(const struct regex *re, struct str text) {
    if (re->bytes)
        return byteseq_matches(re->bytes, text);
    if (re->runs)
        return runseq_matches(re->runs, text);
    re2::StringPiece piece(text.data, text.size);
    if (re->utf8->Match(piece, 0, text.size, anchor_of(*re), nullptr, 0))
        return true;
    return !utf8_valid(text) && twin(*re).Match(piece, 0, text.size, anchor_of(*re), nullptr, 0);
}

const struct byteseq *regex_bytes(const struct regex *re) {
    return re->bytes;
}

size_t regex_parts(const struct regex *re, const struct byteseq *const **ret) {
    return re->runs ? runseq_parts(re->runs, ret) : 0;
}

bool regex_find(const struct regex *re, struct str text, size_t from, struct str *ret_groups,
                size_t n_groups) {
    re2::StringPiece groups[REGEX_GROUPS_MAX];
    size_t known = re->names.size() + 1;
    size_t wanted = n_groups < known ? n_groups : known;
    if (wanted > REGEX_GROUPS_MAX)
        wanted = REGEX_GROUPS_MAX;
    if (from > text.size)
        return false;
    const RE2 &chosen = utf8_valid(text) ? *re->utf8 : twin(*re);
    re2::StringPiece piece(text.data ? text.data : "", text.size);
    if (!chosen.Match(piece, from, text.size, anchor_of(*re), groups, static_cast<int>(wanted)))
        return false;
    for (size_t i = 0; i < n_groups; i++)
        ret_groups[i] = i < wanted ? str{groups[i].data(), groups[i].size()} : str{nullptr, 0};
    return true;
}

size_t regex_group_count(const struct regex *re) {
    return re->names.size();
}

struct str regex_group_name(const struct regex *re, size_t group) {
    if (group == 0 || group > re->names.size())
        return str{"", 0};
    const std::string &name = re->names[group - 1];
    return str{name.data(), name.size()};
}

struct str regex_pattern(const struct regex *re) {
    return str{re->pattern.data(), re->pattern.size()};
}
