# Completion of writ in fish. Once: writ completion fish | source
# For good: writ completion fish > ~/.config/fish/completions/writ.fish
function __writ_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l lines (writ __complete -- $words[2..] "$current" 2>/dev/null </dev/null)
    if test "$lines[1]" = files
        set -l option (string match -r -- '^--[^=]+=' "$current")
        for path in (__fish_complete_path (string replace -- "$option" '' "$current"))
            printf '%s\n' "$option$path"
        end
    else if set -q lines[2]
        # fish quotes what it inserts.
        printf '%s\n' $lines[2..]
    end
end
complete -c writ -e
complete -c writ -f -k -a '(__writ_complete)'
