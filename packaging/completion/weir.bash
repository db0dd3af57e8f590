# SPDX-License-Identifier: Apache-2.0
# Bash completion of weir: weir itself knows its commands and flags. A flag's
# value is offered as a file.
_weir() {
	local word=${COMP_WORDS[COMP_CWORD]} typed=("${COMP_WORDS[@]:0:COMP_CWORD}")
	if [[ $word == -* ]]; then
		typed+=("$word")
	elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == -* ]]; then
		return
	fi
	mapfile -t COMPREPLY < <(compgen -W "$("${typed[@]}" --generate-bash-completion 2>/dev/null)" -- "$word")
}
complete -o default -F _weir weir
