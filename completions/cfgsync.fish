# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_cfgsync_global_optspecs
    string join \n log-format= log-level= h/help V/version
end

function __fish_cfgsync_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_cfgsync_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_cfgsync_using_subcommand
    set -l cmd (__fish_cfgsync_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c cfgsync -n "__fish_cfgsync_needs_command" -l log-format -d 'How the log is written: text with colours on a terminal and plain elsewhere, or JSON [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text; with colours and short times on a terminal'
text\t'Plain lines with UTC times, on a terminal as well'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_needs_command" -l log-level -d 'What is logged: error, warn, info, debug or trace, also by module (`info,cfgsync::http=debug`) [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -s V -l version -d 'Print version'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "serve" -d 'Hold the door: register nodes until the spec\'s set is complete, then hand out their files'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "join" -d 'Register this node, wait until the cluster is complete, write its files, and hand over to CMD'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "inspect" -d 'Show the cluster: who is here, who is missing, what was made'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "plan" -d 'Say offline what a spec would give: is it valid, would the set be ready, which files would be made'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "rm" -d 'Take a node out of the cluster'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "fail" -d 'Declare the cluster failed: every node is told why, until `reset`'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "reset" -d 'End a failure: what an operator declared, or a passed deadline or failed render, which is tried again'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "release" -d 'Give a node\'s name free: the next machine to come with it has it'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "token" -d 'Make tokens, which open a server'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "key" -d 'Make keys for signed payloads'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l listen -d 'Where to listen; repeat it for more addresses. Port 0 takes a free one [env: CFGSYNC_LISTEN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l port-file -d 'Write the port to this file once the server listens, one line per --listen [env: CFGSYNC_LISTEN_PORT_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l sign-key -d 'Sign every payload with the Ed25519 key in this PEM file; `cfgsync key new` makes one. Read at the start only [env: CFGSYNC_SIGN_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l hold -d 'Hold the requests of clients that do not ask to wait for so long, when there is no payload yet [env: CFGSYNC_HOLD]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l min-generation-interval -d 'Least time from one render to the next [env: CFGSYNC_MIN_GENERATION_INTERVAL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l state-dir -d 'Keep what is acknowledged in this directory, so that a server that is killed goes on where it was [env: CFGSYNC_STATE_DIR]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l history -d 'How many generations are kept for `inspect` [env: CFGSYNC_HISTORY]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l drain-timeout -d 'How long requests in flight may take to end once the server stops, and CMD once it was told to [env: CFGSYNC_DRAIN_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l tokens -d 'The tokens that open this server, one line each (see `cfgsync token new`); SIGHUP reads them again [env: CFGSYNC_TOKENS]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l operator-cert -d 'A client certificate with such a name is an operator\'s (`*` is anything); repeat it for more [env: CFGSYNC_OPERATOR_CERT, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l audit-log -d 'Write a line for each change, refusal and first delivery to this file, or to stdout (`-`); SIGHUP opens it again [env: CFGSYNC_AUDIT_LOG]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l rate-max -d 'Requests and TLS handshakes of one address in a second, once its burst is used up; 0 is as many as it likes [env: CFGSYNC_RATE_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l rate-burst -d 'Requests and TLS handshakes of one address at once: enough for ten thousand nodes behind it to boot [env: CFGSYNC_RATE_BURST]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l waiters-per-node-max -d 'Requests that are held for one node at a time; more are answered at once [env: CFGSYNC_WAITERS_PER_NODE_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l tls -d 'Speak TLS with a key that the server makes for itself: nodes know it by the join URL [env: CFGSYNC_TLS]' -r -f -a "self-signed\t'Made at the first start, and kept in the state directory'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l tls-cert -d 'Speak TLS with this certificate, followed by those of its issuers (PEM); read again when it changes [env: CFGSYNC_TLS_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l tls-key -d 'Where its key is [default: in the same file] [env: CFGSYNC_TLS_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l client-ca -d 'Let in only clients with a certificate that an authority in this file has signed (PEM) [env: CFGSYNC_CLIENT_CA]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l join-url-file -d 'Write the join URL to this file once the server listens, and again when the key changes [env: CFGSYNC_JOIN_URL_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l wait-max -d 'Longest wait that a client may ask for; longer ones are cut to it [env: CFGSYNC_WAIT_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l register-body-max -d 'Largest body of every route but /node/replace [env: CFGSYNC_REGISTER_BODY_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l replace-body-max -d 'Largest body of /node/replace [env: CFGSYNC_REPLACE_BODY_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l nodes-max -d 'Registered nodes; another one is refused, and `join` comes again. Those that the spec lists always find room [env: CFGSYNC_NODES_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l metadata-total-max -d 'Memory for the metadata of all nodes together; what would take more is refused, and `join` comes again [env: CFGSYNC_METADATA_TOTAL_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l connections-max -d 'Open connections; more wait in the listen backlog [env: CFGSYNC_CONNECTIONS_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l connections-per-address-max -d 'Open connections of one address, an IPv6 /64 counting as one; more are closed, and `join` comes again. Unless it is given, three quarters of --connections-max, so that no address shuts out all others [env: CFGSYNC_CONNECTIONS_PER_ADDRESS_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l header-timeout -d 'How long a connection may be idle, or take to send a request\'s head [env: CFGSYNC_HEADER_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l body-timeout -d 'How long a request\'s body may take [env: CFGSYNC_BODY_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l write-stall-timeout -d 'How long a client may take no byte of its answer [env: CFGSYNC_WRITE_STALL_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l log-format -d 'How the log is written: text with colours on a terminal and plain elsewhere, or JSON [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text; with colours and short times on a terminal'
text\t'Plain lines with UTC times, on a terminal as well'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l log-level -d 'What is logged: error, warn, info, debug or trace, also by module (`info,cfgsync::http=debug`) [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l allow-anonymous -d 'Nodes need no credentials. Where nobody is asked for any, operators need none either, beyond loopback as well [env: CFGSYNC_ALLOW_ANONYMOUS]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l audit-required -d 'Change nothing that the audit log cannot take: each change is on disk there before it is made [env: CFGSYNC_AUDIT_REQUIRED]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l server -d 'Where the server is; repeat it for servers that are tried in turn [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l token-file -d 'A file with the token that opens the server [default: what CFGSYNC_TOKEN holds, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l identity-file -d 'Where this node\'s own key is kept, for a cluster that wants one; it is made when it is first asked for [default: keys/CLUSTER/ID in systemd\'s state directory, /var/lib/cfgsync, or ~/.local/state/cfgsync] [env: CFGSYNC_IDENTITY_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l cluster -d 'Insist that the server serves this cluster [env: CFGSYNC_CLUSTER]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l id -d 'This node\'s identifier [default: the host\'s name] [env: CFGSYNC_ID]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l ip -d 'The address under which others reach it [default: the local address that reaches the server] [env: CFGSYNC_IP]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l meta -d 'A fact about it: KEY=TEXT, KEY:=JSON or KEY=@FILE; dots in the key nest [env: CFGSYNC_META, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l meta-json -d 'Its facts as one JSON value, below those of --meta [env: CFGSYNC_META_JSON]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l out -d 'Where an artifact goes: ARTIFACT=PATH, DIR/=PATH/ for all below, ARTIFACT=- for stdout [env: CFGSYNC_OUT, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l out-dir -d 'Where all other artifacts go, under their own names [env: CFGSYNC_OUT_DIR]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l owner -d 'Who owns the files [default: who owned the replaced ones] [env: CFGSYNC_OWNER]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l timeout -d 'How long to try; 0 is forever [env: CFGSYNC_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l env -d 'A dotenv artifact that becomes CMD\'s environment instead of a file [env: CFGSYNC_ENV, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l receipt -d 'Note here what was delivered: instance, generation, digest, and the sum of each file [env: CFGSYNC_RECEIPT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l fallback -d 'When nothing was delivered after so long, or a token or certificate has expired, go on with the files that are there, if they are those of the receipt, unchanged [env: CFGSYNC_FALLBACK]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l verify-key -d 'Write nothing that the key of this PEM file did not sign; repeat it while keys change [env: CFGSYNC_VERIFY_KEY, one per line]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l payload-max -d 'Largest payload that is taken [env: CFGSYNC_PAYLOAD_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l files-max -d 'Most files that are taken, up to 100000 [env: CFGSYNC_FILES_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l path-max-bytes -d 'Longest artifact path that is taken, in bytes, up to 1024 [env: CFGSYNC_PATH_MAX_BYTES]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -s o -l output -d 'Print what was written to stdout [env: CFGSYNC_OUTPUT]' -r -f -a "json\t'One JSON document'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l ca-file -d 'Trust the authorities in this PEM file instead of the public web\'s [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l pin -d 'Trust the server that has this key, whatever its certificate says; repeat it while a key is replaced [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l client-cert -d 'Show the certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l client-key -d 'Where its key is [default: in the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l log-format -d 'How the log is written: text with colours on a terminal and plain elsewhere, or JSON [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text; with colours and short times on a terminal'
text\t'Plain lines with UTC times, on a terminal as well'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l log-level -d 'What is logged: error, warn, info, debug or trace, also by module (`info,cfgsync::http=debug`) [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -l wait -d 'Wait until the cluster is in this state [env: CFGSYNC_WAIT]' -r -f -a "ready\t'A generation is served'
failed\t'The cluster has failed'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -l timeout -d 'How long to wait; 0 is forever [env: CFGSYNC_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -s o -l output -d 'Table, or what the server said as JSON or YAML [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'For people'
json\t'For scripts'
yaml\t'For scripts and people'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -l state-dir -d 'Look into this state directory instead of asking a server; one may be at work in it' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -l server -d 'The server to ask; where there are several, they are tried in turn [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -l token-file -d 'A file with the token that opens the server [default: what CFGSYNC_TOKEN holds, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -l ca-file -d 'Trust the authorities in this PEM file instead of the public web\'s [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -l pin -d 'Trust the server that has this key, whatever its certificate says; repeat it while a key is replaced [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -l client-cert -d 'Show the certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -l client-key -d 'Where its key is [default: in the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -l log-format -d 'How the log is written: text with colours on a terminal and plain elsewhere, or JSON [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text; with colours and short times on a terminal'
text\t'Plain lines with UTC times, on a terminal as well'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -l log-level -d 'What is logged: error, warn, info, debug or trace, also by module (`info,cfgsync::http=debug`) [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -l watch -d 'Print again whenever something has changed [env: CFGSYNC_WATCH]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -l verify -d 'Check every frame and every sealed file in the state directory [env: CFGSYNC_VERIFY]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -f -a "health" -d 'Whether the server answers: exit code 0 or 1, at once'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -f -a "node" -d 'One node: its files, or why it waits; exit code 3 if nothing is known by that name'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -f -a "file" -d 'The exact bytes of one of a node\'s files, on stdout'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -f -a "generations" -d 'What was sealed, newest first; or one generation, file by file'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations diff" -f -a "diff" -d 'What changed from one generation to another; exit code 3 if anything did'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -s o -l output -d 'Table, or what the server said as JSON or YAML [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'For people'
json\t'For scripts'
yaml\t'For scripts and people'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -l state-dir -d 'Look into this state directory instead of asking a server; one may be at work in it' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -l server -d 'The server to ask; where there are several, they are tried in turn [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -l token-file -d 'A file with the token that opens the server [default: what CFGSYNC_TOKEN holds, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -l ca-file -d 'Trust the authorities in this PEM file instead of the public web\'s [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -l pin -d 'Trust the server that has this key, whatever its certificate says; repeat it while a key is replaced [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -l client-cert -d 'Show the certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -l client-key -d 'Where its key is [default: in the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -l log-format -d 'How the log is written: text with colours on a terminal and plain elsewhere, or JSON [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text; with colours and short times on a terminal'
text\t'Plain lines with UTC times, on a terminal as well'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -l log-level -d 'What is logged: error, warn, info, debug or trace, also by module (`info,cfgsync::http=debug`) [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -s o -l output -d 'Table, or what the server said as JSON or YAML [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'For people'
json\t'For scripts'
yaml\t'For scripts and people'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -l state-dir -d 'Look into this state directory instead of asking a server; one may be at work in it' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -l server -d 'The server to ask; where there are several, they are tried in turn [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -l token-file -d 'A file with the token that opens the server [default: what CFGSYNC_TOKEN holds, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -l ca-file -d 'Trust the authorities in this PEM file instead of the public web\'s [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -l pin -d 'Trust the server that has this key, whatever its certificate says; repeat it while a key is replaced [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -l client-cert -d 'Show the certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -l client-key -d 'Where its key is [default: in the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -l log-format -d 'How the log is written: text with colours on a terminal and plain elsewhere, or JSON [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text; with colours and short times on a terminal'
text\t'Plain lines with UTC times, on a terminal as well'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -l log-level -d 'What is logged: error, warn, info, debug or trace, also by module (`info,cfgsync::http=debug`) [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l generation -d 'As it was in this generation instead of the newest [env: CFGSYNC_GENERATION]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -s o -l output -d 'Table, or what the server said as JSON or YAML [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'For people'
json\t'For scripts'
yaml\t'For scripts and people'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l state-dir -d 'Look into this state directory instead of asking a server; one may be at work in it' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l server -d 'The server to ask; where there are several, they are tried in turn [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l token-file -d 'A file with the token that opens the server [default: what CFGSYNC_TOKEN holds, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l ca-file -d 'Trust the authorities in this PEM file instead of the public web\'s [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l pin -d 'Trust the server that has this key, whatever its certificate says; repeat it while a key is replaced [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l client-cert -d 'Show the certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l client-key -d 'Where its key is [default: in the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l log-format -d 'How the log is written: text with colours on a terminal and plain elsewhere, or JSON [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text; with colours and short times on a terminal'
text\t'Plain lines with UTC times, on a terminal as well'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l log-level -d 'What is logged: error, warn, info, debug or trace, also by module (`info,cfgsync::http=debug`) [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l reveal -d 'Show the contents of secret files [env: CFGSYNC_REVEAL]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -s o -l output -d 'Table, or what the server said as JSON or YAML [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'For people'
json\t'For scripts'
yaml\t'For scripts and people'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -l state-dir -d 'Look into this state directory instead of asking a server; one may be at work in it' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -l server -d 'The server to ask; where there are several, they are tried in turn [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -l token-file -d 'A file with the token that opens the server [default: what CFGSYNC_TOKEN holds, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -l ca-file -d 'Trust the authorities in this PEM file instead of the public web\'s [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -l pin -d 'Trust the server that has this key, whatever its certificate says; repeat it while a key is replaced [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -l client-cert -d 'Show the certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -l client-key -d 'Where its key is [default: in the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -l log-format -d 'How the log is written: text with colours on a terminal and plain elsewhere, or JSON [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text; with colours and short times on a terminal'
text\t'Plain lines with UTC times, on a terminal as well'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -l log-level -d 'What is logged: error, warn, info, debug or trace, also by module (`info,cfgsync::http=debug`) [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -s o -l output -d 'Table, or what the server said as JSON or YAML [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'For people'
json\t'For scripts'
yaml\t'For scripts and people'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l state-dir -d 'Look into this state directory instead of asking a server; one may be at work in it' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l server -d 'The server to ask; where there are several, they are tried in turn [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l token-file -d 'A file with the token that opens the server [default: what CFGSYNC_TOKEN holds, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l ca-file -d 'Trust the authorities in this PEM file instead of the public web\'s [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l pin -d 'Trust the server that has this key, whatever its certificate says; repeat it while a key is replaced [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l client-cert -d 'Show the certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l client-key -d 'Where its key is [default: in the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l log-format -d 'How the log is written: text with colours on a terminal and plain elsewhere, or JSON [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text; with colours and short times on a terminal'
text\t'Plain lines with UTC times, on a terminal as well'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l log-level -d 'What is logged: error, warn, info, debug or trace, also by module (`info,cfgsync::http=debug`) [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l reveal -d 'Show the contents of secret files [env: CFGSYNC_REVEAL]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -l nodes -d 'Who would be registered: a YAML or JSON file, or `-` for stdin [env: CFGSYNC_NODES]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -l fake -d 'Invent so many nodes from the spec\'s `metadata:` rules [env: CFGSYNC_FAKE]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -l out-dir -d 'Write the files to DIR/NODE/PATH, shared ones to DIR/_shared/PATH [env: CFGSYNC_OUT_DIR]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -l diff -d 'Compare with the files in DIR, laid out as --out-dir does [env: CFGSYNC_DIFF]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -s o -l output -d 'How the answer is printed [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'For people'
json\t'For scripts'
yaml\t'For scripts and people'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -l log-format -d 'How the log is written: text with colours on a terminal and plain elsewhere, or JSON [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text; with colours and short times on a terminal'
text\t'Plain lines with UTC times, on a terminal as well'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -l log-level -d 'What is logged: error, warn, info, debug or trace, also by module (`info,cfgsync::http=debug`) [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -l server -d 'The server to ask; where there are several, they are tried in turn [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -l token-file -d 'A file with the token that opens the server [default: what CFGSYNC_TOKEN holds, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -l ca-file -d 'Trust the authorities in this PEM file instead of the public web\'s [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -l pin -d 'Trust the server that has this key, whatever its certificate says; repeat it while a key is replaced [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -l client-cert -d 'Show the certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -l client-key -d 'Where its key is [default: in the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -l log-format -d 'How the log is written: text with colours on a terminal and plain elsewhere, or JSON [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text; with colours and short times on a terminal'
text\t'Plain lines with UTC times, on a terminal as well'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -l log-level -d 'What is logged: error, warn, info, debug or trace, also by module (`info,cfgsync::http=debug`) [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -l override -d 'End the node\'s override instead: its own files come back with the next generation [env: CFGSYNC_OVERRIDE]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -l reason -d 'Why, in words for whoever reads the nodes\' logs [env: CFGSYNC_REASON]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -l server -d 'The server to ask; where there are several, they are tried in turn [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -l token-file -d 'A file with the token that opens the server [default: what CFGSYNC_TOKEN holds, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -l ca-file -d 'Trust the authorities in this PEM file instead of the public web\'s [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -l pin -d 'Trust the server that has this key, whatever its certificate says; repeat it while a key is replaced [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -l client-cert -d 'Show the certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -l client-key -d 'Where its key is [default: in the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -l log-format -d 'How the log is written: text with colours on a terminal and plain elsewhere, or JSON [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text; with colours and short times on a terminal'
text\t'Plain lines with UTC times, on a terminal as well'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -l log-level -d 'What is logged: error, warn, info, debug or trace, also by module (`info,cfgsync::http=debug`) [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reset" -l server -d 'The server to ask; where there are several, they are tried in turn [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reset" -l token-file -d 'A file with the token that opens the server [default: what CFGSYNC_TOKEN holds, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reset" -l ca-file -d 'Trust the authorities in this PEM file instead of the public web\'s [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reset" -l pin -d 'Trust the server that has this key, whatever its certificate says; repeat it while a key is replaced [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reset" -l client-cert -d 'Show the certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reset" -l client-key -d 'Where its key is [default: in the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reset" -l log-format -d 'How the log is written: text with colours on a terminal and plain elsewhere, or JSON [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text; with colours and short times on a terminal'
text\t'Plain lines with UTC times, on a terminal as well'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reset" -l log-level -d 'What is logged: error, warn, info, debug or trace, also by module (`info,cfgsync::http=debug`) [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reset" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand release" -l server -d 'The server to ask; where there are several, they are tried in turn [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand release" -l token-file -d 'A file with the token that opens the server [default: what CFGSYNC_TOKEN holds, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand release" -l ca-file -d 'Trust the authorities in this PEM file instead of the public web\'s [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand release" -l pin -d 'Trust the server that has this key, whatever its certificate says; repeat it while a key is replaced [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand release" -l client-cert -d 'Show the certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand release" -l client-key -d 'Where its key is [default: in the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand release" -l log-format -d 'How the log is written: text with colours on a terminal and plain elsewhere, or JSON [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text; with colours and short times on a terminal'
text\t'Plain lines with UTC times, on a terminal as well'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand release" -l log-level -d 'What is logged: error, warn, info, debug or trace, also by module (`info,cfgsync::http=debug`) [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand release" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and not __fish_seen_subcommand_from new" -l log-format -d 'How the log is written: text with colours on a terminal and plain elsewhere, or JSON [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text; with colours and short times on a terminal'
text\t'Plain lines with UTC times, on a terminal as well'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and not __fish_seen_subcommand_from new" -l log-level -d 'What is logged: error, warn, info, debug or trace, also by module (`info,cfgsync::http=debug`) [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and not __fish_seen_subcommand_from new" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and not __fish_seen_subcommand_from new" -f -a "new" -d 'Make a token: print the secret, once, and give its hash to the server\'s file'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -l role -d 'What its holder may do: a node registers, fetches its own files and leaves; an operator does everything [env: CFGSYNC_ROLE]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -l name -d 'What logs call it [default: its role and the beginning of its hash] [env: CFGSYNC_NAME]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -l identifier -d 'For which nodes it is good: `web-*`, `?` is one character [default: all] [env: CFGSYNC_IDENTIFIER]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -l expires -d 'How long it is good from now on [default: for ever] [env: CFGSYNC_EXPIRES]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -l url -d 'Print a join URL that holds the secret, made of this one, which `serve` told: `cfgsync join URL` needs no more [env: CFGSYNC_URL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -l append -d 'Add its line to this file, which is made with mode 0600 if it is not there [env: CFGSYNC_APPEND]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -l log-format -d 'How the log is written: text with colours on a terminal and plain elsewhere, or JSON [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text; with colours and short times on a terminal'
text\t'Plain lines with UTC times, on a terminal as well'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -l log-level -d 'What is logged: error, warn, info, debug or trace, also by module (`info,cfgsync::http=debug`) [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand key; and not __fish_seen_subcommand_from new" -l log-format -d 'How the log is written: text with colours on a terminal and plain elsewhere, or JSON [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text; with colours and short times on a terminal'
text\t'Plain lines with UTC times, on a terminal as well'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand key; and not __fish_seen_subcommand_from new" -l log-level -d 'What is logged: error, warn, info, debug or trace, also by module (`info,cfgsync::http=debug`) [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand key; and not __fish_seen_subcommand_from new" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand key; and not __fish_seen_subcommand_from new" -f -a "new" -d 'Make a pair: sign-key.pem for `serve --sign-key`, verify-key.pem for `join --verify-key`'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand key; and __fish_seen_subcommand_from new" -l out-dir -d 'Where to write them; keys that are there already are not overwritten [env: CFGSYNC_OUT_DIR]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand key; and __fish_seen_subcommand_from new" -l log-format -d 'How the log is written: text with colours on a terminal and plain elsewhere, or JSON [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text; with colours and short times on a terminal'
text\t'Plain lines with UTC times, on a terminal as well'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand key; and __fish_seen_subcommand_from new" -l log-level -d 'What is logged: error, warn, info, debug or trace, also by module (`info,cfgsync::http=debug`) [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand key; and __fish_seen_subcommand_from new" -s h -l help -d 'Print help (see more with \'--help\')'
