#compdef writ
# Completion of writ in zsh. Once: source <(writ completion zsh). For good: write it to a file _writ in $fpath.
_writ() {
  local line
  local -a before lines values shown
  (( CURRENT > 2 )) && before=("${(@Q)words[2,CURRENT-1]}")
  lines=("${(@f)$(writ __complete -- "${before[@]}" "${(Q)PREFIX}" 2>/dev/null </dev/null)}")
  if [[ $lines[1] == files ]]; then
    compset -P '*='
    _files
    return
  fi
  for line in "${(@)lines[2,-1]}"; do
    [[ -n $line ]] || continue
    values+=("${line%%$'\t'*}")
    shown+=("${line/$'\t'/  -- }")
  done
  # zsh quotes what it inserts.
  (( $#values )) && compadd -l -d shown -a -- values
}
if [[ $funcstack[1] == _writ ]]; then
  _writ "$@"
else
  compdef _writ writ
fi
