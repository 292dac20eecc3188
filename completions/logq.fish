# Completion of logq for fish: see logq.bash.

set -l commands grep query instant-query labels series stats volume volume-range detected-fields patterns fmt delete push api help

function __logq_ask
    set -l where
    set -l words (commandline -opc)
    for i in (seq 2 (count $words))
        switch $words[$i]
            case --addr --data-dir --org-id --username --password --bearer-token --bearer-token-file --ca-cert --cert --key
                set -a where $words[$i] $words[(math $i + 1)]
            case '--addr=*' '--data-dir=*' '--org-id=*'
                set -a where $words[$i]
        end
    end
    logq $where --quiet --since 30d $argv 2>/dev/null
end

function __logq_command
    for word in (commandline -opc)[2..-1]
        if contains -- $word grep query instant-query labels series stats volume volume-range detected-fields patterns fmt delete push api help
            echo $word
            return
        end
    end
    echo grep
end

# NAME=, or NAME=VALUE once the name is there.
function __logq_matchers
    set -l cur (commandline -ct)
    if string match -q '*=*' -- $cur
        set -l name (string replace -r '[=!].*' '' -- $cur)
        set -l head (string replace -r '([=!]=?~?).*' '$1' -- $cur)
        for value in (__logq_ask labels $name)
            echo $head$value
        end
    else
        for name in (__logq_ask labels)
            echo $name=
        end
    end
end

function __logq_options
    logq (__logq_command) --help | string match -ra -g '(?:^|[ ,])(--?[A-Za-z][A-Za-z.-]*)' | sort -u
end

complete -c logq -f
complete -c logq -n "not __fish_seen_subcommand_from $commands" -a "$commands"
complete -c logq -n "string match -q -- '-*' (commandline -ct)" -a "(__logq_options)"
complete -c logq -s l -l label -x -a "(__logq_matchers)"
complete -c logq -l by -l include-label -l exclude-label -l targetLabels -x -a "(__logq_ask labels)"
complete -c logq -l output -x -a "default raw jsonl json table"
complete -c logq -n "__fish_seen_subcommand_from query instant-query volume volume-range" -s o -x -a "default raw jsonl json table"
complete -c logq -l color -l colour -x -a "auto always never"
complete -c logq -s z -l timezone -x -a "Local UTC"
complete -c logq -l timestamp -x -a "auto now"
complete -c logq -l output-timestamp-format -x -a "rfc3339 rfc3339nano rfc822z rfc1123z stampmilli stampmicro stampnano unixdate"
complete -c logq -l since -x -a "15m 1h 6h 1d 7d 30d"
complete -c logq -l from -l to -x -a "now today yesterday"
complete -c logq -l data-dir -x -a "(__fish_complete_directories)"
complete -c logq -l bearer-token-file -l ca-cert -l cert -l key -l file -l positions -l part-path-prefix -r -F
complete -c logq -n "__fish_seen_subcommand_from labels" -a "(__logq_ask labels)"
complete -c logq -n "__fish_seen_subcommand_from delete" -a "create list cancel"
complete -c logq -n "__fish_seen_subcommand_from help" -a "$commands"
complete -c logq -n "__fish_seen_subcommand_from push" -F
complete -c logq -n "__fish_seen_argument -l stdin" -F
