#!/usr/bin/env python3
"""logqd.yaml(5) from docs/configuration.md, which a test holds against the table of keys: settings-man.py VERSION <configuration.md >logqd.yaml.5"""
import re
import sys


def roff(text):
    """Text of a Markdown cell: `code` and *stress*."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("`", "\x01").replace("\\|", "|").replace("\\e|", "|")
    text = re.sub("\x01([^\x01]*)\x01", r"\\fB\1\\fR", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"\\fB\1\\fR", text)
    text = re.sub(r"\*([^*]+)\*", r"\\fI\1\\fR", text)
    text = re.sub(r"\[([^\]]*)\]\(([^)]*)\)", r"\1", text)
    text = re.sub(r",(?=[^\s\\])", r",\\:", text)  # a long list may break behind its commas
    return "\\&" + text if text.startswith((".", "'")) else text


def main():
    lines = sys.stdin.read().splitlines()
    out = ['.TH LOGQD.YAML 5 "" "logq %s" "File Formats"' % sys.argv[1], ".ad l", ".nh", ".SH NAME", "logqd.yaml \\- settings of logqd", ".SH DESCRIPTION"]
    in_table = False
    for line in lines:
        if line.startswith("# "):
            continue
        cells = [c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]]
        if line.startswith("|") and len(cells) >= 4:
            if cells[0] == "key" or set(cells[0]) <= set("-: "):
                if not in_table:
                    out.append(".SH SETTINGS")
                in_table = True
                continue
            key, default, allowed, meaning = cells[0], cells[1], cells[2], " | ".join(cells[3:])
            out += [".TP", roff(key), roff(meaning), ".br", "Default: " + roff(default) + "; " + roff(allowed) + "."]
            continue
        if in_table and line and not line.startswith("|"):
            in_table = False
            out.append(".SH NOTES")
        if line.startswith("#"):
            out.append('.SH "%s"' % roff(line.lstrip("# ")).upper())
        elif line.startswith(("- ", "* ")):
            out += [".IP \\(bu 2", roff(line[2:])]
        elif line.startswith("    "):
            out += [".br", roff(line.strip())]
        elif not line.strip():
            out.append(".PP")
        else:
            out.append(roff(line))
    out += [".SH FILES", ".I /etc/logqd/logqd.yaml", ".SH \"SEE ALSO\"", ".BR logqd (8),", ".BR logq (1)"]
    # .PP before or behind a heading is nothing but a warning.
    text, previous = [], ""
    for i, line in enumerate(out):
        following = next((l for l in out[i + 1:] if l != ".PP"), ".SH")
        if line == ".PP" and (previous.startswith((".SH", ".PP")) or following.startswith((".SH", ".TP", ".IP"))):
            continue
        text.append(line)
        previous = line
    print("\n".join(text))


if __name__ == "__main__":
    main()
