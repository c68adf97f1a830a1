# Completion of writ in bash. Once: source <(writ completion bash). For good: put that line into ~/.bashrc.
_writ() {
  local IFS=$' \t\n'
  local rest=${COMP_LINE-} part before='' kind='' value i
  local -a words=()
  COMPREPLY=()
  if [[ -z $rest ]]; then
    rest="${COMP_WORDS[*]:0:COMP_CWORD+1}"
  else
    rest=${rest:0:COMP_POINT}
  fi
  # Readline breaks words at : and = too. What stands together on the line is one word of the command.
  for ((i = 0; i <= COMP_CWORD; i++)); do
    part=${COMP_WORDS[i]}
    before=''
    if [[ $rest == [[:space:]]* ]]; then
      rest=${rest#"${rest%%[![:space:]]*}"}
    elif ((${#words[@]} > 0)); then
      before=${words[${#words[@]} - 1]}
      unset "words[${#words[@]} - 1]"
    fi
    if [[ $rest == "$part"* ]]; then
      rest=${rest:${#part}}
    else
      part=$rest
      rest=''
    fi
    words+=("$before$part")
  done
  # Readline replaces only what follows its last break.
  if [[ -n $before && $part == [:=] ]]; then
    before+=$part
  fi
  before=${before//[\\\"\']/}
  words=("${words[@]//[\\\"\']/}")
  while IFS= read -r value; do
    value=${value%%$'\t'*}
    if [[ -z $kind ]]; then
      kind=$value
    else
      # The name of an object may hold anything; on the line it is text, whatever quotes are open there.
      printf -v value %q "${value#"$before"}"
      COMPREPLY+=("$value")
    fi
  done < <(writ __complete -- "${words[@]:1}" 2>/dev/null </dev/null)
  if [[ $kind == files ]]; then
    compopt -o filenames 2>/dev/null
    value=${words[${#words[@]} - 1]}
    while IFS= read -r value; do
      COMPREPLY+=("$value")
    done < <(compgen -f -- "${value#"$before"}")
  fi
}
complete -F _writ writ
