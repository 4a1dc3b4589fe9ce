#!/bin/sh
# A materializer in a few lines of shell. It reads one line of JSON from standard input:
#   {"cluster":"…","revision":…,"nodes":[{"identifier":"…","ip":"…","metadata":{…},"seat":…},…],"values":{…},"once":{…}}
# The nodes are sorted, so the same nodes give the same bytes. Standard error goes to the server's log.
# grep is good enough to parse JSON fields whose characters are known. For anything else, use a language with a
# JSON parser.
set -eu
input=$(cat)

validators=$(printf '%s' "$input" | grep -o '"role":"validator"' | wc -l)
if [ "$validators" -eq 0 ]; then
    # The spec's own rule does not contain this condition. The waiting nodes receive the message.
    echo '{"status":"not_ready","message":"a genesis needs at least one validator"}'
    exit
fi

identifiers=$(printf '%s' "$input" | grep -o '{"identifier":"[^"]*","ip"' | cut -d '"' -f 4)
chain_id=$(printf '%s' "$input" | grep -o '"chain_id":[0-9]*' | cut -d : -f 2)
genesis="chain $chain_id: $(printf '%s' "$identifiers" | tr '\n' ' ')"
hash=$(printf '%s' "$genesis" | sha256sum | cut -d ' ' -f 1)
echo "genesis $hash of $(echo "$identifiers" | wc -l) nodes" >&2

# Identifiers contain no characters that JSON would have to escape.
comma=
printf '{"status":"ready","nodes":{'
for id in $identifiers; do
    printf '%s"%s":[{"path":"node.conf","content":"id=%s\\ngenesis=%s\\n","mode":"0640"}]' \
        "$comma" "$id" "$id" "$hash"
    comma=,
done
printf '},"shared":[{"path":"genesis.txt","content":"%s"}]}\n' "$genesis"
