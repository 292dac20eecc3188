# Completion of logq for bash: commands, options (as logq's own help has them), names and values of labels (from the server
# or the --data-dir that the line names), forms and files.

__logq_ask() { # what the line says about where to ask, then the question
    local i where=()
    for ((i = 1; i < ${#COMP_WORDS[@]}; i++)); do
        case ${COMP_WORDS[i]} in
        --addr | --data-dir | --org-id | --username | --password | --bearer-token | --bearer-token-file | --ca-cert | --cert | --key)
            if [ "${COMP_WORDS[i + 1]-}" = = ]; then
                where+=("${COMP_WORDS[i]}=${COMP_WORDS[i + 2]-}")
            else
                where+=("${COMP_WORDS[i]}" "${COMP_WORDS[i + 1]-}")
            fi
            ;;
        esac
    done
    logq "${where[@]}" --quiet --since 30d "$@" 2>/dev/null
}

_logq() {
    local commands="grep query instant-query labels series stats volume volume-range detected-fields patterns fmt delete push api help"
    local line=${COMP_LINE:0:COMP_POINT} cur prev command="" word previous=""
    cur=${line##*[[:space:]]}
    COMPREPLY=()
    # The command: the first word that is one and no value of an option.
    local words=($line)
    [ -n "$cur" ] && unset "words[${#words[@]}-1]"
    for word in "${words[@]:1}"; do
        case $previous in
        --addr | --data-dir | --org-id | --username | --password | --since | --from | --to | -l | --label | -m | -e) previous="" ; continue ;;
        esac
        case " $commands " in
        *" $word "*) command=$word; break ;;
        esac
        previous=$word
    done
    prev=${words[${#words[@]} - 1]}

    case $prev in
    -l | --label | --by | --include-label | --exclude-label | --targetLabels) __logq_labels "$cur" "$prev"; return ;;
    --output) COMPREPLY=($(compgen -W "default raw jsonl json table" -- "$cur")); return ;;
    -o)
        case $command in
        query | instant-query | volume | volume-range) COMPREPLY=($(compgen -W "default raw jsonl json table" -- "$cur")); return ;;
        esac
        ;;
    --color | --colour) COMPREPLY=($(compgen -W "auto always never" -- "$cur")); return ;;
    -z | --timezone) COMPREPLY=($(compgen -W "Local UTC" -- "$cur")); return ;;
    --timestamp) COMPREPLY=($(compgen -W "auto now" -- "$cur")); return ;;
    --output-timestamp-format)
        COMPREPLY=($(compgen -W "rfc3339 rfc3339nano rfc822z rfc1123z stampmilli stampmicro stampnano unixdate" -- "$cur")); return ;;
    --since) COMPREPLY=($(compgen -W "15m 1h 6h 1d 7d 30d" -- "$cur")); return ;;
    --from | --to) COMPREPLY=($(compgen -W "now today yesterday" -- "$cur")); return ;;
    --data-dir) COMPREPLY=($(compgen -d -- "$cur")); return ;;
    --bearer-token-file | --ca-cert | --cert | --key | --file | --positions | --part-path-prefix) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    esac
    case $cur in
    -*)
        COMPREPLY=($(compgen -W "$(logq ${command:-grep} --help | grep -oE '(^|[ ,])--?[A-Za-z][A-Za-z.-]*' | tr -d ' ,' | sort -u)" -- "$cur"))
        return
        ;;
    esac
    case $command in
    "") COMPREPLY=($(compgen -W "$commands" -- "$cur")) ;;
    labels) COMPREPLY=($(compgen -W "$(__logq_ask labels)" -- "$cur")) ;;
    push) COMPREPLY=($(compgen -f -- "$cur")) ;;
    help) COMPREPLY=($(compgen -W "$commands" -- "$cur")) ;;
    delete) COMPREPLY=($(compgen -W "create list cancel" -- "$cur")) ;;
    *) case " $line" in *" --stdin "*) COMPREPLY=($(compgen -f -- "$cur")) ;; esac ;;
    esac
}

__logq_labels() { # NAME, or NAME=VALUE behind -l
    local cur=$1 prev=$2 name value IFS=$'\n'
    if [[ $prev = -l || $prev = --label ]] && [[ $cur = *=* ]]; then
        name=${cur%%[=!]*}
        value=${cur#"$name"}
        value=${value#[=!]}
        value=${value#[=~]}
        local values=$(__logq_ask labels "$name")
        COMPREPLY=($(compgen -W "$values" -- "$value"))
        # readline replaces only what stands behind the last "=" when that breaks words.
        case $COMP_WORDBREAKS in
        *=*) ;;
        *) COMPREPLY=("${COMPREPLY[@]/#/${cur%"$value"}}") ;;
        esac
        return
    fi
    COMPREPLY=($(compgen -W "$(__logq_ask labels)" -- "$cur"))
    if [[ $prev = -l || $prev = --label ]]; then
        COMPREPLY=("${COMPREPLY[@]/%/=}")
        compopt -o nospace 2>/dev/null
    fi
}

complete -F _logq logq
