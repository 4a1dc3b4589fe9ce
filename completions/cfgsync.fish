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

complete -c cfgsync -n "__fish_cfgsync_needs_command" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_needs_command" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -s V -l version -d 'Print version'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "serve" -d 'Run the server: register nodes until the set is complete, then deliver their files'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "join" -d 'Register this node, wait until the cluster is complete, write its files, and run CMD'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "inspect" -d 'Show the cluster: its state, its nodes and the nodes that are missing'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "plan" -d 'Check a spec: whether it is valid, whether nodes would be ready, and which files they would get'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "rm" -d 'Remove a node from the cluster'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "unban" -d 'Let a node register again that `cfgsync rm --ban` keeps out'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "retry" -d 'Let a node try the generation again that it has refused'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "replace" -d 'Override the files of one node'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "fail" -d 'Declare the cluster failed'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "reset" -d 'End a failure of the cluster'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "reload" -d 'Make the server read its files again: spec, tokens and certificates'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "release" -d 'Release a node\'s name, so that another machine can register with it'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "redraw" -d 'Evaluate a value of `once` again, for the next generation'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "rollout" -d 'Show, stop or continue the roll-out of a generation'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "report" -d 'Report that this node has reached a phase'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "renew" -d 'Renew the lease of this node'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "wait" -d 'Wait until nodes have reached a phase'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "run-once" -d 'Run a program once for all nodes'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "values" -d 'Read and change operators\' values'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "store" -d 'Move the state of a cluster between a state directory and etcd'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "token" -d 'Make tokens, which authenticate nodes and operators'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "key" -d 'Make a key pair for signed payloads'
complete -c cfgsync -n "__fish_cfgsync_needs_command" -f -a "completions" -d 'Print the completions for a shell'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l listen -d 'The address to listen on; port 0 selects a free one; repeatable [env: CFGSYNC_LISTEN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l port-file -d 'Write the port to this file while the server listens, one line per address [env: CFGSYNC_LISTEN_PORT_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l sign-key -d 'Sign every payload with the Ed25519 key in this PEM file (see `cfgsync key new`); read at startup only [env: CFGSYNC_SIGN_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l host -d 'Answer requests for this host name too; repeatable. Without credentials, a server answers only for IP addresses, `localhost` and names without a dot [env: CFGSYNC_HOST, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l hold -d 'How long to hold a fetch from a client that does not send `Prefer: wait`, while there is no payload yet [env: CFGSYNC_HOLD]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l hold-render -d 'How long to hold such a fetch at least, once the set is complete and its files are rendered and sealed [env: CFGSYNC_HOLD_RENDER]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l min-generation-interval -d 'Shortest time from one render to the next [env: CFGSYNC_MIN_GENERATION_INTERVAL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l run-lease -d 'How long a node that runs CMD of `run-once` may be silent, until the next node runs it [env: CFGSYNC_RUN_LEASE]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l store -d 'Where to keep the state [env: CFGSYNC_STORE]' -r -f -a "memory\t'In memory, lost when the server ends'
directory\t'In the state directory'
etcd\t'In etcd, shared with other servers of the same cluster'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l etcd-endpoints -d 'The members of etcd for `--store etcd`, separated by commas; repeatable [env: CFGSYNC_ETCD_ENDPOINTS, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l etcd-prefix -d 'The prefix of all keys in etcd. The keys of this cluster are below it, under the name of the cluster [env: CFGSYNC_ETCD_PREFIX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l etcd-ca -d 'Trust the certificate authorities in this PEM file for etcd, in place of those of the public web [env: CFGSYNC_ETCD_CA]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l etcd-cert -d 'The certificate that this server presents to etcd, a PEM file [env: CFGSYNC_ETCD_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l etcd-key -d 'The private key of `--etcd-cert`, a PEM file [env: CFGSYNC_ETCD_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l etcd-user -d 'The name of the user in etcd [env: CFGSYNC_ETCD_USER]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l etcd-password-file -d 'The file with the password of `--etcd-user` [env: CFGSYNC_ETCD_PASSWORD_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l etcd-start-timeout -d 'How long the server tries to read its data in etcd when it starts [env: CFGSYNC_ETCD_START_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l etcd-write-timeout -d 'How long a change may wait for etcd. Then it is answered with status 503, and `join` tries again [env: CFGSYNC_ETCD_WRITE_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l state-dir -d 'Keep the state in this directory, so that the server continues after a restart or a crash [env: CFGSYNC_STATE_DIR]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l advertise -d 'The URL under which nodes reach this server, if it shares its cluster with others; repeatable [env: CFGSYNC_ADVERTISE, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l server-name -d 'The name of this server for `inspect servers`, if it shares its cluster with others. The default is the name of the machine [env: CFGSYNC_SERVER_NAME]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l stale-max -d 'How long the store may be silent until `/readyz` says that the server is not ready [env: CFGSYNC_STALE_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l history -d 'How many generations the server keeps for `inspect` [env: CFGSYNC_HISTORY]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l drain-timeout -d 'How long requests in flight and CMD may take to finish when the server stops [env: CFGSYNC_DRAIN_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l record -d 'Write the flight record of the newest generation to this file when the server ends, whatever ends it [env: CFGSYNC_RECORD]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l record-format -d 'Format of --record [default: by the extension of the file: .txt, .json, .xml for JUnit, .svg] [env: CFGSYNC_RECORD_FORMAT]' -r -f -a "table\t'A table, for people'
json\t'JSON, for scripts'
junit\t'JUnit XML with one test case for each node, for CI systems'
svg\t'An SVG image with one row for each node'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l tokens -d 'The file of accepted tokens (see `cfgsync token new`); read again on SIGHUP [env: CFGSYNC_TOKENS]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l operator-cert -d 'Give the role of an operator to client certificates with this name; `*` matches any text; repeatable [env: CFGSYNC_OPERATOR_CERT, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l viewer-cert -d 'Give the role of a viewer to client certificates with this name; `*` matches any text; repeatable [env: CFGSYNC_VIEWER_CERT, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l audit-log -d 'Write each change, refusal and first delivery to this file, or to stdout (`-`); reopened on SIGHUP [env: CFGSYNC_AUDIT_LOG]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l rate-max -d 'Most requests and TLS handshakes per second from one address, after its burst; 0 means no limit [env: CFGSYNC_RATE_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l rate-burst -d 'Burst of requests and TLS handshakes from one address; the default lets 10,000 nodes behind NAT boot at once [env: CFGSYNC_RATE_BURST]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l waiters-per-node-max -d 'Most requests that the server holds for one node; it answers further ones at once [env: CFGSYNC_WAITERS_PER_NODE_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l tls -d 'Use TLS with a key that the server makes; nodes recognize it by the pin in the join URL [env: CFGSYNC_TLS]' -r -f -a "self-signed\t'The server makes the key at its first start, and keeps it in the state directory'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l tls-cert -d 'Use TLS with the certificate in this PEM file, followed by those of its issuers; read again when it changes [env: CFGSYNC_TLS_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l tls-key -d 'The file with the key of the certificate [default: the same file] [env: CFGSYNC_TLS_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l client-ca -d 'Require a client certificate that is signed by a certificate authority in this PEM file [env: CFGSYNC_CLIENT_CA]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l join-url-file -d 'Write the join URL to this file once the server listens, and again after a key change [env: CFGSYNC_JOIN_URL_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l wait-max -d 'Longest wait that a client may request; the server shortens longer ones [env: CFGSYNC_WAIT_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l register-body-max -d 'Largest request body, except for /node/replace [env: CFGSYNC_REGISTER_BODY_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l replace-body-max -d 'Largest request body for /node/replace [env: CFGSYNC_REPLACE_BODY_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l nodes-max -d 'Most registered nodes. Beyond it, the server refuses registrations, and `join` retries. Nodes that the spec lists are always accepted [env: CFGSYNC_NODES_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l metadata-total-max -d 'Memory for the metadata of all nodes. Beyond it, the server refuses registrations, and `join` retries [env: CFGSYNC_METADATA_TOTAL_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l connections-max -d 'Most open connections; more wait in the listen backlog [env: CFGSYNC_CONNECTIONS_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l connections-per-address-max -d 'Most open connections of one address; more are closed, and `join` retries [default: 75 % of --connections-max] [env: CFGSYNC_CONNECTIONS_PER_ADDRESS_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l header-timeout -d 'How long a connection may be idle, and how long the head of a request may take [env: CFGSYNC_HEADER_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l body-timeout -d 'How long the body of a request may take [env: CFGSYNC_BODY_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l write-stall-timeout -d 'Close the connection of a client that reads no byte of a response for this time [env: CFGSYNC_WRITE_STALL_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l event-history-max -d 'Most events that the server keeps for watchers that reconnect [env: CFGSYNC_EVENT_HISTORY_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l event-history-bytes-max -d 'Memory for the contents of values and the metadata of nodes in these events [env: CFGSYNC_EVENT_HISTORY_BYTES_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l watch-heartbeat -d 'Time between two heartbeats of an event stream [env: CFGSYNC_WATCH_HEARTBEAT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l watchers-max -d 'Most open event streams; the server refuses more with status 429 [env: CFGSYNC_WATCHERS_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l watchers-per-identity-max -d 'Most open event streams of one token or client certificate [env: CFGSYNC_WATCHERS_PER_IDENTITY_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l watchers-per-address-max -d 'Most open event streams of one address. An IPv6 /64 counts as one address [env: CFGSYNC_WATCHERS_PER_ADDRESS_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l values-max -d 'Most keys in all namespaces, with the deleted ones whose history is kept. Also the most aliases [env: CFGSYNC_VALUES_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l values-total-max -d 'Memory for all versions of all values. A version counts as its length and 256 bytes [env: CFGSYNC_VALUES_TOTAL_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l value-history-max -d 'Most versions of each value that the server keeps; the oldest are dropped [env: CFGSYNC_VALUE_HISTORY_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l page-default -d 'Entries of a page of values or versions if the client gives no limit, at most 1000 [env: CFGSYNC_PAGE_DEFAULT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l moved -d 'Continue with a state directory that was moved by a copy; no server may have used the original since [env: CFGSYNC_MOVED]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l restored -d 'Continue with a state directory or an etcd that was restored from a backup, as a new instance [env: CFGSYNC_RESTORED]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l adopt-spec -d 'Seal with this spec although another server of the cluster has sealed with another one [env: CFGSYNC_ADOPT_SPEC]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l allow-anonymous -d 'Accept nodes without credentials; without --tokens and --client-ca, every client may also act as an operator [env: CFGSYNC_ALLOW_ANONYMOUS]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -l audit-required -d 'Write each change to the audit log on disk before it takes effect, and refuse it if that fails [env: CFGSYNC_AUDIT_REQUIRED]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l server -d 'The URL of the server; repeatable: each node prefers one of them, and uses another if that one cannot serve it [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l identity-file -d 'The file with the key of this node, for a cluster that requires one; created when it is first required [default: keys/CLUSTER/ID in systemd\'s state directory, /var/lib/cfgsync, or ~/.local/state/cfgsync] [env: CFGSYNC_IDENTITY_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l cluster -d 'The cluster that the server must serve [env: CFGSYNC_CLUSTER]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l id -d 'The identifier of this node [default: the host name] [env: CFGSYNC_ID]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l ip -d 'The address at which the other nodes reach this one [default: the local address that reaches the server] [env: CFGSYNC_IP]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l meta -d 'A value of the metadata: KEY=TEXT, KEY:=JSON, KEY=@FILE or KEY:=@FILE (JSON from a file); dots in the key nest objects; repeatable [env: CFGSYNC_META, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l meta-json -d 'The metadata as one JSON value; --meta overrides single values of it [env: CFGSYNC_META_JSON]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l out -d 'Write an artifact to a path; DIR/=PATH/ routes all artifacts below DIR, ARTIFACT=- prints to stdout; repeatable [env: CFGSYNC_OUT, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l discard -d 'Accept an artifact without writing it; DIR/ discards all artifacts below DIR; repeatable [env: CFGSYNC_DISCARD, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l out-dir -d 'Write all other artifacts below this directory, under their own names [env: CFGSYNC_OUT_DIR]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l owner -d 'The owner of the files: names or numbers [default: that of the spec, or of the replaced file] [env: CFGSYNC_OWNER]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l timeout -d 'How long to try, until the first delivery; 0 means no limit [env: CFGSYNC_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l env -d 'Pass the variables in this dotenv artifact to CMD, instead of writing it to a file; repeatable [env: CFGSYNC_ENV, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l env-allow -d 'Let --env set only these variables; PREFIX_* names all with this prefix; repeatable [env: CFGSYNC_ENV_ALLOW, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l receipt -d 'Write a receipt of the delivery to this file: instance, generation, digest, and the checksum of each file [env: CFGSYNC_RECEIPT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l fallback -d 'Continue with the unchanged files of the receipt, if nothing is delivered within this time or if a token or certificate has expired [env: CFGSYNC_FALLBACK]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l check -d 'Run this shell command before files are replaced; if it fails, the old files stay. $CFGSYNC_STAGED is a directory with the new files [env: CFGSYNC_CHECK]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l check-timeout -d 'How long --check may take [env: CFGSYNC_CHECK_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l on-change -d 'Run this shell command after files have changed [env: CFGSYNC_ON_CHANGE]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l signal -d 'Send this signal to the process of --pid-file after files have changed [env: CFGSYNC_SIGNAL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l pid-file -d 'The file with the process id for --signal [env: CFGSYNC_PID_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l reload-signal -d 'Send this signal to CMD after files have changed [env: CFGSYNC_RELOAD_SIGNAL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l splay -d 'Spread the change of the nodes over this time: each node waits for its own part of it [env: CFGSYNC_SPLAY]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l min-interval -d 'Shortest time from one change of the files to the next [env: CFGSYNC_MIN_INTERVAL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l kill-signal -d 'The signal that asks CMD to end [default: TERM for a restart, else the signal that ends `join`] [env: CFGSYNC_KILL_SIGNAL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l kill-timeout -d 'How long CMD may take to end before it is killed [env: CFGSYNC_KILL_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l probe -d 'Check the service of this node, and report the phases `started`, `healthy` and `failed`: a shell command, http://HOST:PORT/PATH or tcp://HOST:PORT [env: CFGSYNC_PROBE]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l probe-interval -d 'Time from one check of --probe to the next [env: CFGSYNC_PROBE_INTERVAL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l probe-timeout -d 'How long one check of --probe may take [env: CFGSYNC_PROBE_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l probe-threshold -d 'After so many checks in a row with the same result, the node is healthy or has failed [env: CFGSYNC_PROBE_THRESHOLD]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l probe-start-period -d 'How long failed checks of --probe do not count after a start or a new generation, until one succeeds [env: CFGSYNC_PROBE_START_PERIOD]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l verify-key -d 'Accept only payloads that are signed with the key in this PEM file; repeatable, for a key change [env: CFGSYNC_VERIFY_KEY, one per line]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l payload-max -d 'Largest payload that this node accepts [env: CFGSYNC_PAYLOAD_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l files-max -d 'Most files in a payload, up to 100000 [env: CFGSYNC_FILES_MAX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l path-max-bytes -d 'Longest artifact path in bytes, up to 1024 [env: CFGSYNC_PATH_MAX_BYTES]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -s o -l output -d 'Print a report of the delivery to stdout, in this format [env: CFGSYNC_OUTPUT]' -r -f -a "json\t'One JSON document'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l keep-stale -d 'Keep and list the files of the receipt that are no longer part of the payload, instead of removing them [env: CFGSYNC_KEEP_STALE]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l watch -d 'Stay after the first delivery and write each new generation; with CMD, run it as a child process [env: CFGSYNC_WATCH]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l restart-on-change -d 'Restart CMD after files have changed; a changed --env artifact always restarts it [env: CFGSYNC_RESTART_ON_CHANGE]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -l accept-signature-v1 -d 'Also accept signatures that do not cover the cluster\'s name, while the server is older than this version [env: CFGSYNC_ACCEPT_SIGNATURE_V1]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand join" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -l wait -d 'Wait until the cluster is in this state, then print it: `ready`, `failed`, or a phase that all nodes of the newest generation must reach, such as `delivered` or `healthy` [env: CFGSYNC_WAIT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -l timeout -d 'How long --wait waits; 0 means no limit [env: CFGSYNC_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -l only -d 'Show only the nodes in this state [env: CFGSYNC_ONLY]' -r -f -a "waiting\t'A request of the node waits for its files now'
behind\t'The node has not received the newest generation'
refused\t'The server refused to register the node'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -l name -d 'Show only the nodes whose name matches; `*` matches any characters, `?` matches one; repeatable [env: CFGSYNC_NAME, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table that fits the terminal, for people'
wide\t'A table with all columns in full'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'
junit\t'JUnit XML, for CI systems; only for `inspect record`'
svg\t'An SVG image; only for `inspect record`'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -l state-dir -d 'Read this state directory instead of asking a server, even while a server uses it' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -l watch -d 'Print the cluster again after each change'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -l verify -d 'Verify every record and every sealed file in the state directory [env: CFGSYNC_VERIFY]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -f -a "health" -d 'Check whether the server answers: exit code 0 or 1, within 2 s'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -f -a "node" -d 'Show a node: its files, or why it waits; exit code 3 if there is no such node'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -f -a "file" -d 'Print the exact bytes of a file of a node'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -f -a "generations" -d 'List the generations, newest first; or show the files of one'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -f -a "record" -d 'Print the flight record of a generation: which nodes came when, what was waited for, and how long everything took'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -f -a "events" -d 'Print the events that the server has kept: registrations, seals, deliveries, values and so on'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -f -a "servers" -d 'Show the servers of the cluster, and the database that they share'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and not __fish_seen_subcommand_from health node file generations record events servers diff" -f -a "diff" -d 'Compare two generations; exit code 3 if anything differs'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table that fits the terminal, for people'
wide\t'A table with all columns in full'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'
junit\t'JUnit XML, for CI systems; only for `inspect record`'
svg\t'An SVG image; only for `inspect record`'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -l state-dir -d 'Read this state directory instead of asking a server, even while a server uses it' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from health" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table that fits the terminal, for people'
wide\t'A table with all columns in full'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'
junit\t'JUnit XML, for CI systems; only for `inspect record`'
svg\t'An SVG image; only for `inspect record`'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -l state-dir -d 'Read this state directory instead of asking a server, even while a server uses it' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from node" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l generation -d 'The generation to take the file from [default: the newest] [env: CFGSYNC_GENERATION]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table that fits the terminal, for people'
wide\t'A table with all columns in full'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'
junit\t'JUnit XML, for CI systems; only for `inspect record`'
svg\t'An SVG image; only for `inspect record`'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l state-dir -d 'Read this state directory instead of asking a server, even while a server uses it' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -l reveal -d 'Show the content of secret files [env: CFGSYNC_REVEAL]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from file" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table that fits the terminal, for people'
wide\t'A table with all columns in full'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'
junit\t'JUnit XML, for CI systems; only for `inspect record`'
svg\t'An SVG image; only for `inspect record`'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -l state-dir -d 'Read this state directory instead of asking a server, even while a server uses it' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from generations" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from record" -l generation -d 'The generation: a number, or `newest`. Without any generation, the record is about the attempt to reach the first [env: CFGSYNC_GENERATION]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from record" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table that fits the terminal, for people'
wide\t'A table with all columns in full'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'
junit\t'JUnit XML, for CI systems; only for `inspect record`'
svg\t'An SVG image; only for `inspect record`'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from record" -l state-dir -d 'Read this state directory instead of asking a server, even while a server uses it' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from record" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from record" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from record" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from record" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from record" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from record" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from record" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from record" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from record" -l all -d 'Print all nodes and all lines of the timeline as a table [env: CFGSYNC_ALL]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from record" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from events" -l since -d 'Begin after this revision or event; `now` omits what has happened [env: CFGSYNC_SINCE]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from events" -l kind -d 'Print only events with this name, such as node_registered; may be repeated [env: CFGSYNC_KIND, one per line]' -r -f -a "node_registered\t''
joiner_changed\t''
node_removed\t''
override_set\t''
override_removed\t''
delivered\t''
name_claimed\t''
name_released\t''
cluster_failed\t''
cluster_reset\t''
set\t''
delete\t''
alias_set\t''
alias_delete\t''
generation_confirmed\t''
node_banned\t''
node_unbanned\t''
redraw_requested\t''
phase_reported\t''
run_claimed\t''
run_done\t''
run_failed\t''
run_forgotten\t''
rollout_stopped\t''
rollout_resumed\t''
generation_sealed\t''
readiness\t''
notice\t''"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from events" -l node -d 'Print only events of this node; may be repeated [env: CFGSYNC_NODE, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from events" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table that fits the terminal, for people'
wide\t'A table with all columns in full'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'
junit\t'JUnit XML, for CI systems; only for `inspect record`'
svg\t'An SVG image; only for `inspect record`'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from events" -l state-dir -d 'Read this state directory instead of asking a server, even while a server uses it' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from events" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from events" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from events" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from events" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from events" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from events" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from events" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from events" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from events" -l follow -d 'Print the events that follow as well, as they happen [env: CFGSYNC_FOLLOW]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from events" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from servers" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table that fits the terminal, for people'
wide\t'A table with all columns in full'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'
junit\t'JUnit XML, for CI systems; only for `inspect record`'
svg\t'An SVG image; only for `inspect record`'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from servers" -l state-dir -d 'Read this state directory instead of asking a server, even while a server uses it' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from servers" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from servers" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from servers" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from servers" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from servers" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from servers" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from servers" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from servers" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from servers" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table that fits the terminal, for people'
wide\t'A table with all columns in full'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'
junit\t'JUnit XML, for CI systems; only for `inspect record`'
svg\t'An SVG image; only for `inspect record`'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l state-dir -d 'Read this state directory instead of asking a server, even while a server uses it' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -l reveal -d 'Show the content of secret files [env: CFGSYNC_REVEAL]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand inspect; and __fish_seen_subcommand_from diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -l nodes -d 'The nodes to register: a YAML or JSON file, or `-` for stdin [env: CFGSYNC_NODES]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -l fake -d 'Register this many invented nodes, with metadata that the spec accepts and, if possible, that match its groups [env: CFGSYNC_FAKE]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -l values -d 'The operators\' values of a namespace: a file as `cfgsync values export` writes it; repeatable [env: CFGSYNC_VALUES, one per line]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -l out-dir -d 'Write the files to DIR/NODE/PATH, and shared files to DIR/_shared/PATH' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -l diff -d 'Compare with the files in DIR, which has the layout of --out-dir [env: CFGSYNC_DIFF]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -l server -d 'Compare with the files that the nodes of this server have; repeatable: the servers are tried in order' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table, for people'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -l override -d 'End the override of the node instead of removing it; the next generation has its own files again [env: CFGSYNC_OVERRIDE]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -l ban -d 'Also refuse registrations of the node from now on, until `cfgsync unban`; the node need not be registered [env: CFGSYNC_BAN]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand unban" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand unban" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand unban" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand unban" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand unban" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand unban" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand unban" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand unban" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand unban" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand retry" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand retry" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand retry" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand retry" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand retry" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand retry" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand retry" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand retry" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand retry" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand replace" -l file -d 'A file for the node: the artifact path, and the local file with its content; repeatable [env: CFGSYNC_FILE, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand replace" -l secret-file -d 'Like --file, for a file with secret content: its default mode is 0600; repeatable [env: CFGSYNC_SECRET_FILE, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand replace" -l mode -d 'The mode of one of these files [default: 0644, or 0600 for a secret file]; repeatable [env: CFGSYNC_MODE, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand replace" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand replace" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand replace" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand replace" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand replace" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand replace" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand replace" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand replace" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand replace" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -l reason -d 'The reason, which every node prints [env: CFGSYNC_REASON]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand fail" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reset" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reset" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reset" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reset" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reset" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reset" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reset" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reset" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reset" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reload" -l only -d 'Read only this part again [env: CFGSYNC_ONLY]' -r -f -a "spec\t'The spec, and the files that it names'
tokens\t'The tokens file'
certificates\t'The certificate, its key, and the authorities of client certificates'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reload" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reload" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reload" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reload" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reload" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reload" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reload" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reload" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand reload" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand release" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand release" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand release" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand release" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand release" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand release" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand release" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand release" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand release" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand redraw" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand redraw" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand redraw" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand redraw" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand redraw" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand redraw" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand redraw" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand redraw" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand redraw" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and not __fish_seen_subcommand_from status stop resume" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and not __fish_seen_subcommand_from status stop resume" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and not __fish_seen_subcommand_from status stop resume" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and not __fish_seen_subcommand_from status stop resume" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and not __fish_seen_subcommand_from status stop resume" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and not __fish_seen_subcommand_from status stop resume" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and not __fish_seen_subcommand_from status stop resume" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table, for people'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and not __fish_seen_subcommand_from status stop resume" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and not __fish_seen_subcommand_from status stop resume" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and not __fish_seen_subcommand_from status stop resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and not __fish_seen_subcommand_from status stop resume" -f -a "status" -d 'Show which nodes have the newest generation, and what is waited for'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and not __fish_seen_subcommand_from status stop resume" -f -a "stop" -d 'Hand the generation to no further node'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and not __fish_seen_subcommand_from status stop resume" -f -a "resume" -d 'Continue a roll-out that is stopped'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from status" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from status" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from status" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from status" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from status" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from status" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from status" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table, for people'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from status" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from status" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from stop" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from stop" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from stop" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from stop" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from stop" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from stop" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from stop" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table, for people'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from stop" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from stop" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from stop" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from resume" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from resume" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from resume" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from resume" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from resume" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from resume" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from resume" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table, for people'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from resume" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from resume" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand rollout; and __fish_seen_subcommand_from resume" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand report" -l reason -d 'The reason, for operators and for the nodes that wait [env: CFGSYNC_REASON]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand report" -l generation -d 'The generation with whose files the node has reached the phase: a number, or `newest` for the last one that it received [default: newest] [env: CFGSYNC_GENERATION]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand report" -l timeout -d 'How long to try while the server is not reachable; 0 means no limit [env: CFGSYNC_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand report" -l id -d 'The identifier of this node; CMD of `join` has it in its environment [env: CFGSYNC_ID]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand report" -l identity-file -d 'The file with the key of this node, for a cluster that requires one; CMD of `join` has it in its environment [env: CFGSYNC_IDENTITY_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand report" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand report" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand report" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand report" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand report" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand report" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand report" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand report" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand report" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand renew" -l timeout -d 'How long to try while the server is not reachable; 0 means no limit [env: CFGSYNC_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand renew" -l id -d 'The identifier of this node; CMD of `join` has it in its environment [env: CFGSYNC_ID]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand renew" -l identity-file -d 'The file with the key of this node, for a cluster that requires one; CMD of `join` has it in its environment [env: CFGSYNC_IDENTITY_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand renew" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand renew" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand renew" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand renew" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand renew" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand renew" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand renew" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand renew" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand renew" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand wait" -l count -d 'Wait for at least so many nodes [env: CFGSYNC_COUNT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand wait" -l nodes -d 'Wait for these nodes, separated by commas' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand wait" -l generation -d 'The generation: a number, or `newest` [default: newest] [env: CFGSYNC_GENERATION]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand wait" -l timeout -d 'How long to wait; 0 means no limit [env: CFGSYNC_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand wait" -l identity-file -d 'The file with the key of this node, for a cluster that requires one; CMD of `join` has it in its environment [env: CFGSYNC_IDENTITY_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand wait" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand wait" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand wait" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand wait" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand wait" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand wait" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand wait" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand wait" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand wait" -l all -d 'Wait for all nodes (the default) [env: CFGSYNC_ALL]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand wait" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand run-once" -l tries -d 'The number of failures after which this node gives up [env: CFGSYNC_TRIES]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand run-once" -l generation -d 'The generation for --per-generation: a number, or `newest` [default: newest] [env: CFGSYNC_GENERATION]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand run-once" -l timeout -d 'How long to wait for another node that runs it; 0 means no limit. The time that CMD takes does not count [env: CFGSYNC_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand run-once" -l forget -d 'Forget a run, so that it is done once more; for operators [env: CFGSYNC_FORGET]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand run-once" -s o -l output -d 'Output format of --list [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table, for people'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand run-once" -l id -d 'The identifier of this node; CMD of `join` has it in its environment [env: CFGSYNC_ID]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand run-once" -l identity-file -d 'The file with the key of this node, for a cluster that requires one; CMD of `join` has it in its environment [env: CFGSYNC_IDENTITY_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand run-once" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand run-once" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand run-once" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand run-once" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand run-once" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand run-once" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand run-once" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand run-once" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand run-once" -l per-generation -d 'Run it once for each generation, instead of once for the whole life of the cluster [env: CFGSYNC_PER_GENERATION]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand run-once" -l list -d 'List the runs [env: CFGSYNC_LIST]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand run-once" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and not __fish_seen_subcommand_from get set rm ls history diff alias import export watch" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and not __fish_seen_subcommand_from get set rm ls history diff alias import export watch" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and not __fish_seen_subcommand_from get set rm ls history diff alias import export watch" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and not __fish_seen_subcommand_from get set rm ls history diff alias import export watch" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and not __fish_seen_subcommand_from get set rm ls history diff alias import export watch" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and not __fish_seen_subcommand_from get set rm ls history diff alias import export watch" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and not __fish_seen_subcommand_from get set rm ls history diff alias import export watch" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and not __fish_seen_subcommand_from get set rm ls history diff alias import export watch" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and not __fish_seen_subcommand_from get set rm ls history diff alias import export watch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and not __fish_seen_subcommand_from get set rm ls history diff alias import export watch" -f -a "get" -d 'Print a value; exit code 3 if there is none'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and not __fish_seen_subcommand_from get set rm ls history diff alias import export watch" -f -a "set" -d 'Set a value: make its next version'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and not __fish_seen_subcommand_from get set rm ls history diff alias import export watch" -f -a "rm" -d 'Delete a value; its history stays, and a value that is set again continues with the next version'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and not __fish_seen_subcommand_from get set rm ls history diff alias import export watch" -f -a "ls" -d 'List the namespaces, or the values of a namespace'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and not __fish_seen_subcommand_from get set rm ls history diff alias import export watch" -f -a "history" -d 'List the versions of a value that the server keeps, newest first, also after the value was deleted'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and not __fish_seen_subcommand_from get set rm ls history diff alias import export watch" -f -a "diff" -d 'Compare two versions of a value; exit code 3 if content or codec differ'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and not __fish_seen_subcommand_from get set rm ls history diff alias import export watch" -f -a "alias" -d 'List, set and delete aliases: second names of keys, in every namespace'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and not __fish_seen_subcommand_from get set rm ls history diff alias import export watch" -f -a "import" -d 'Set the values of a namespace to those of a YAML file, all or none'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and not __fish_seen_subcommand_from get set rm ls history diff alias import export watch" -f -a "export" -d 'Write all values of a namespace, at one revision, as a YAML file for `cfgsync values import`'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and not __fish_seen_subcommand_from get set rm ls history diff alias import export watch" -f -a "watch" -d 'Print the changes of values and aliases as they happen'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from get" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "raw\t'The exact bytes of the content'
json\t'JSON with the decoded content, for scripts'
yaml\t'YAML with the decoded content'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from get" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from get" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from get" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from get" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from get" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from get" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from get" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from get" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from get" -l reveal -d 'Show the content of secrets; the audit log of the server records it [env: CFGSYNC_REVEAL]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from get" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from set" -l from -d 'Read the content from this file [env: CFGSYNC_FROM]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from set" -l codec -d 'The codec of the content: `json`, `yaml`, `toml` and `text` are checked, `bytes` and all others are not [default: json] [env: CFGSYNC_CODEC]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from set" -l if-version -d 'Set the value only if this is its version now [env: CFGSYNC_IF_VERSION]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from set" -l ttl -d 'Delete the value after this time, by the clock of the server [env: CFGSYNC_TTL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from set" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from set" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from set" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from set" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from set" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from set" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from set" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from set" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from set" -l secret -d 'Keep the content secret: it is shown only with --reveal [env: CFGSYNC_SECRET]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from set" -l create -d 'Set the value only if there is none [env: CFGSYNC_CREATE]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from set" -l update -d 'Set the value only if there is one [env: CFGSYNC_UPDATE]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from set" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from rm" -l if-version -d 'Delete the value only if this is its version now [env: CFGSYNC_IF_VERSION]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from rm" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from rm" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from rm" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from rm" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from rm" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from rm" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from rm" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from rm" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from rm" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from ls" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table, for people'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from ls" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from ls" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from ls" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from ls" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from ls" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from ls" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from ls" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from ls" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from ls" -l reveal -d 'Show the content of secrets; the audit log of the server records it [env: CFGSYNC_REVEAL]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from ls" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from history" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table, for people'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from history" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from history" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from history" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from history" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from history" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from history" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from history" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from history" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from history" -l reveal -d 'Show the content of secrets; the audit log of the server records it [env: CFGSYNC_REVEAL]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from history" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from diff" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table, for people'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from diff" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from diff" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from diff" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from diff" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from diff" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from diff" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from diff" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from diff" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from diff" -l reveal -d 'Show the content of secrets; the audit log of the server records it [env: CFGSYNC_REVEAL]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from diff" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from alias" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from alias" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from alias" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from alias" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from alias" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from alias" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from alias" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from alias" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from alias" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from alias" -f -a "ls" -d 'List all aliases'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from alias" -f -a "set" -d 'Set an alias; a name that is an alias or a key already is refused'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from alias" -f -a "rm" -d 'Delete an alias; the value stays'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from import" -l into -d 'The namespace [default: the `namespace` in the file] [env: CFGSYNC_INTO]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from import" -s o -l output -d 'Output format of the changes [default: a diff with --dry-run, otherwise none] [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table, for people'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from import" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from import" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from import" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from import" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from import" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from import" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from import" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from import" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from import" -l prune -d 'Also delete the values of the namespace that are not in the file [env: CFGSYNC_PRUNE]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from import" -l dry-run -d 'Change nothing, and print the differences; exit code 3 if there are any [env: CFGSYNC_DRY_RUN]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from import" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from export" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from export" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from export" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from export" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from export" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from export" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from export" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from export" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from export" -l reveal -d 'Write the content of secrets; the audit log of the server records it [env: CFGSYNC_REVEAL]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from watch" -l since -d 'Begin after this revision or event; `oldest` prints all changes that the server has kept [env: CFGSYNC_SINCE]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from watch" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table, for people'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from watch" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from watch" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from watch" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from watch" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from watch" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from watch" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from watch" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from watch" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand values; and __fish_seen_subcommand_from watch" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand store; and not __fish_seen_subcommand_from copy" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand store; and not __fish_seen_subcommand_from copy" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand store; and not __fish_seen_subcommand_from copy" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand store; and not __fish_seen_subcommand_from copy" -f -a "copy" -d 'Copy the state of a cluster to another store, while no server runs'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand store; and __fish_seen_subcommand_from copy" -l from -d 'The state directory to copy, or `etcd` [env: CFGSYNC_FROM]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand store; and __fish_seen_subcommand_from copy" -l to -d 'The directory to copy into, or `etcd` [env: CFGSYNC_TO]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand store; and __fish_seen_subcommand_from copy" -l cluster -d 'The name of the cluster, to copy it from etcd [env: CFGSYNC_CLUSTER]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand store; and __fish_seen_subcommand_from copy" -l etcd-endpoints -d 'The members of etcd for `--store etcd`, separated by commas; repeatable [env: CFGSYNC_ETCD_ENDPOINTS, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand store; and __fish_seen_subcommand_from copy" -l etcd-prefix -d 'The prefix of all keys in etcd. The keys of this cluster are below it, under the name of the cluster [env: CFGSYNC_ETCD_PREFIX]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand store; and __fish_seen_subcommand_from copy" -l etcd-ca -d 'Trust the certificate authorities in this PEM file for etcd, in place of those of the public web [env: CFGSYNC_ETCD_CA]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand store; and __fish_seen_subcommand_from copy" -l etcd-cert -d 'The certificate that this server presents to etcd, a PEM file [env: CFGSYNC_ETCD_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand store; and __fish_seen_subcommand_from copy" -l etcd-key -d 'The private key of `--etcd-cert`, a PEM file [env: CFGSYNC_ETCD_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand store; and __fish_seen_subcommand_from copy" -l etcd-user -d 'The name of the user in etcd [env: CFGSYNC_ETCD_USER]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand store; and __fish_seen_subcommand_from copy" -l etcd-password-file -d 'The file with the password of `--etcd-user` [env: CFGSYNC_ETCD_PASSWORD_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand store; and __fish_seen_subcommand_from copy" -l etcd-start-timeout -d 'How long the server tries to read its data in etcd when it starts [env: CFGSYNC_ETCD_START_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand store; and __fish_seen_subcommand_from copy" -l etcd-write-timeout -d 'How long a change may wait for etcd. Then it is answered with status 503, and `join` tries again [env: CFGSYNC_ETCD_WRITE_TIMEOUT]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand store; and __fish_seen_subcommand_from copy" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand store; and __fish_seen_subcommand_from copy" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand store; and __fish_seen_subcommand_from copy" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and not __fish_seen_subcommand_from new list revoke" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and not __fish_seen_subcommand_from new list revoke" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and not __fish_seen_subcommand_from new list revoke" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and not __fish_seen_subcommand_from new list revoke" -f -a "new" -d 'Make a token: print the secret once, and add its hash to the tokens file of the server'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and not __fish_seen_subcommand_from new list revoke" -f -a "list" -d 'List the tokens that a server accepts: their names, roles and limits, and when and from where each was last used'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and not __fish_seen_subcommand_from new list revoke" -f -a "revoke" -d 'Revoke a token: turn its line in the tokens file of the server into a comment'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -l role -d 'The role of the token: `node` may register, fetch its own files and leave; `viewer` may see the state of the cluster, but no contents; `operator` may do everything [env: CFGSYNC_ROLE]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -l name -d 'The name of the token, which logs show [default: its role and the start of its hash] [env: CFGSYNC_NAME]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -l identifier -d 'The nodes that may use the token: `*` matches any text, `?` one character, as in `web-*` [default: all] [env: CFGSYNC_IDENTIFIER]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -l namespace -d 'The namespaces whose values an operator\'s token is for, as in `prod-*`; of the rest of the cluster, its holder sees what a viewer sees; repeatable [default: no limit] [env: CFGSYNC_NAMESPACE, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -l expires -d 'How long the token is valid from now on [default: no limit] [env: CFGSYNC_EXPIRES]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -l url -d 'Print the secret as part of this join URL, which `serve` prints, for `cfgsync join URL` [env: CFGSYNC_URL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -l append -d 'Add the line to this tokens file; if it does not exist, it is created with mode 0600 [env: CFGSYNC_APPEND]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -l read-only -d 'Limit an operator\'s token to reading [env: CFGSYNC_READ_ONLY]'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from new" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from list" -s o -l output -d 'Output format [env: CFGSYNC_OUTPUT]' -r -f -a "table\t'A table, for people'
json\t'JSON, for scripts'
yaml\t'YAML, for scripts and people'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from list" -l server -d 'URL of the server; repeatable: another one is used if a server cannot serve the request [env: CFGSYNC_SERVER, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from list" -l token-file -d 'The file with the token for authentication [default: the value of CFGSYNC_TOKEN, or systemd\'s credential cfgsync-token] [env: CFGSYNC_TOKEN_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from list" -l ca-file -d 'Trust the certificate authorities in this PEM file instead of those of the public web [env: CFGSYNC_CA_FILE]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from list" -l pin -d 'Trust only a server with this key, whatever its certificate says; repeatable, for a key change [env: CFGSYNC_PIN, one per line]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from list" -l client-cert -d 'Present the client certificate in this PEM file to the server [env: CFGSYNC_CLIENT_CERT]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from list" -l client-key -d 'The file with the key of the client certificate [default: the same file] [env: CFGSYNC_CLIENT_KEY]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from list" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from list" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from revoke" -l tokens -d 'The tokens file of the server [env: CFGSYNC_TOKENS]' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from revoke" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from revoke" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand token; and __fish_seen_subcommand_from revoke" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand key; and not __fish_seen_subcommand_from new" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand key; and not __fish_seen_subcommand_from new" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand key; and not __fish_seen_subcommand_from new" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand key; and not __fish_seen_subcommand_from new" -f -a "new" -d 'Make a key pair: sign-key.pem for `serve --sign-key`, and verify-key.pem for `join --verify-key`'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand key; and __fish_seen_subcommand_from new" -l out-dir -d 'The directory for the two files; existing files are never overwritten' -r -F
complete -c cfgsync -n "__fish_cfgsync_using_subcommand key; and __fish_seen_subcommand_from new" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand key; and __fish_seen_subcommand_from new" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand key; and __fish_seen_subcommand_from new" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c cfgsync -n "__fish_cfgsync_using_subcommand completions" -l log-format -d 'Format of the log [env: CFGSYNC_LOG_FORMAT]' -r -f -a "auto\t'Text with colours and short times on a terminal, lines with priorities in the journal, plain lines with UTC times elsewhere'
text\t'Plain lines with UTC times, also on a terminal'
json\t'One JSON object per line'"
complete -c cfgsync -n "__fish_cfgsync_using_subcommand completions" -l log-level -d 'Level of the log: off, error, warn, info, debug or trace; also for single crates, as in `info,cfgsync_server=debug` [env: CFGSYNC_LOG_LEVEL]' -r
complete -c cfgsync -n "__fish_cfgsync_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
