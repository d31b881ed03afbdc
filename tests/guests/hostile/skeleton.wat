;; A component that fits the contract, with holes (a name in angle brackets) for what does harm. Its one task is `it.runs`.
;;
;; Everything that a guest may import is imported, lowered and at hand in the main module by its name: `$log`, `$sleep`, ...
;; Below 8192 the memory is laid out by hand: 48 the text `1`, 64 the description, 512 where host calls put their results,
;; 768 the result of `run`, 1024 and up data of the case. Above, `realloc` hands out what the host asks for.
(component
  (import "lovage:task/types@0.1.0" (instance $types
    (type $raw (record (field "exc-type" string) (field "exc-message" string) (field "exc-module" string)
      (field "traceback" string)))
    (export "exception" (type $exception (eq $raw)))
    (type $raw-ending (variant (case "failure" $exception) (case "retry") (case "replaced") (case "ignore")
      (case "reject" bool)))
    (export "ending" (type $ending (eq $raw-ending)))
    (type $raw-level (enum "debug" "info" "warning" "error"))
    (export "level" (type $level (eq $raw-level)))
    (type $raw-options (record (field "exc" (option $exception)) (field "countdown" (option f64))
      (field "eta" (option string)) (field "max-retries" (option u32)) (field "args" (option string))
      (field "kwargs" (option string))))
    (export "retry-options" (type $retry-options (eq $raw-options)))
    (type $raw-limits (record (field "soft-remaining" (option f64)) (field "hard-remaining" (option f64))
      (field "memory-bytes" u64) (field "fuel" (option u64))))
    (export "attempt-limits" (type $limits (eq $raw-limits)))))
  (alias export $types "exception" (type $exception))
  (alias export $types "ending" (type $ending))
  (alias export $types "level" (type $level))
  (alias export $types "retry-options" (type $retry-options))
  (alias export $types "attempt-limits" (type $limits))
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.ready" (func (param "self" (borrow $pollable)) (result bool)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))
    (export "poll" (func (param "in" (list (borrow $pollable))) (result (list u32))))))
  (alias export $poll "pollable" (type $pollable))
  (import "lovage:task/host@0.1.0" (instance $host
    (export "exception" (type $exc (eq $exception)))
    (export "level" (type $lvl (eq $level)))
    (export "retry-options" (type $opt (eq $retry-options)))
    (export "attempt-limits" (type $lim (eq $limits)))
    (export "pollable" (type $pol (eq $pollable)))
    (export "request" (func (result string)))
    (export "update-state" (func (param "state" string) (param "meta" string) (result (result (error $exc)))))
    (export "retry" (func (param "options" $opt) (result (result (error $exc)))))
    (export "replace" (func (param "signature" string) (result (result (error $exc)))))
    (export "apply-async" (func (param "signature" string) (result (result string (error $exc)))))
    (export "send-event" (func (param "name" string) (param "fields" string) (result (result (error $exc)))))
    (export "log" (func (param "level" $lvl) (param "message" string)))
    (export "limits" (func (result $lim)))
    (export "soft-time-limit-exceeded" (func (result bool)))
    (export "sleep" (func (param "seconds" f64) (result (result (error $exc)))))
    (export "subscribe-soft-limit" (func (result (own $pol))))))
  (import "wasi:io/error@0.2.0" (instance $error (export "error" (type (sub resource)))))
  (alias export $error "error" (type $io-error))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "error" (type $e (eq $io-error)))
    (type $raw-error (variant (case "last-operation-failed" (own $e)) (case "closed")))
    (export "stream-error" (type $stream-error (eq $raw-error)))
    (export "input-stream" (type $in (sub resource)))
    (export "output-stream" (type $out (sub resource)))
    (export "[method]input-stream.read" (func (param "self" (borrow $in)) (param "len" u64)
      (result (result (list u8) (error $stream-error)))))
    (export "[method]output-stream.check-write" (func (param "self" (borrow $out))
      (result (result u64 (error $stream-error)))))
    (export "[method]output-stream.write" (func (param "self" (borrow $out)) (param "contents" (list u8))
      (result (result (error $stream-error)))))
    (export "[method]output-stream.blocking-write-and-flush" (func (param "self" (borrow $out))
      (param "contents" (list u8)) (result (result (error $stream-error)))))
    (export "[method]output-stream.write-zeroes" (func (param "self" (borrow $out)) (param "len" u64)
      (result (result (error $stream-error)))))
    (export "[method]output-stream.splice" (func (param "self" (borrow $out)) (param "src" (borrow $in))
      (param "len" u64) (result (result u64 (error $stream-error)))))))
  (alias export $streams "input-stream" (type $input))
  (alias export $streams "output-stream" (type $output))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (export "output-stream" (type $o (eq $output)))
    (export "get-stdout" (func (result (own $o))))))
  (import "wasi:cli/stderr@0.2.0" (instance $stderr
    (export "output-stream" (type $o (eq $output)))
    (export "get-stderr" (func (result (own $o))))))
  (import "wasi:cli/stdin@0.2.0" (instance $stdin
    (export "input-stream" (type $i (eq $input)))
    (export "get-stdin" (func (result (own $i))))))
  (import "wasi:cli/environment@0.2.0" (instance $environment
    (export "get-environment" (func (result (list (tuple string string)))))
    (export "get-arguments" (func (result (list string))))
    (export "initial-cwd" (func (result (option string))))))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (export "pollable" (type $p (eq $pollable)))
    (export "now" (func (result u64)))
    (export "resolution" (func (result u64)))
    (export "subscribe-instant" (func (param "when" u64) (result (own $p))))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
  (import "wasi:random/random@0.2.0" (instance $random
    (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
  (import "wasi:random/insecure@0.2.0" (instance $insecure
    (export "get-insecure-random-bytes" (func (param "len" u64) (result (list u8))))))
  (import "wasi:filesystem/types@0.2.0" (instance $files
    (export "descriptor" (type $d (sub resource)))
    (export "[method]descriptor.is-same-object" (func (param "self" (borrow $d)) (param "other" (borrow $d))
      (result bool)))))
  (alias export $files "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (export "descriptor" (type $d (eq $descriptor)))
    (export "get-directories" (func (result (list (tuple (own $d) string)))))))
  (import "wasi:sockets/network@0.2.0" (instance $network
    (export "network" (type (sub resource)))
    (type $raw-code (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
      "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit" "address-not-bindable"
      "address-in-use" "remote-unreachable" "connection-refused" "connection-reset" "connection-aborted"
      "datagram-too-large" "name-unresolvable" "temporary-resolver-failure" "permanent-resolver-failure"))
    (export "error-code" (type (eq $raw-code)))
    (type $raw-family (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type (eq $raw-family)))))
  (alias export $network "network" (type $net))
  (alias export $network "error-code" (type $code))
  (alias export $network "ip-address-family" (type $family))
  (import "wasi:sockets/instance-network@0.2.0" (instance $instance-network
    (export "network" (type $n (eq $net)))
    (export "instance-network" (func (result (own $n))))))
  (import "wasi:sockets/ip-name-lookup@0.2.0" (instance $lookup
    (export "network" (type $n (eq $net)))
    (export "error-code" (type $c (eq $code)))
    (export "resolve-address-stream" (type $s (sub resource)))
    (export "resolve-addresses" (func (param "network" (borrow $n)) (param "name" string)
      (result (result (own $s) (error $c)))))))
  (import "wasi:sockets/tcp@0.2.0" (instance $tcp (export "tcp-socket" (type (sub resource)))))
  (alias export $tcp "tcp-socket" (type $tcp-socket))
  (import "wasi:sockets/udp@0.2.0" (instance $udp (export "udp-socket" (type (sub resource)))))
  (alias export $udp "udp-socket" (type $udp-socket))
  (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $tcp-create
    (export "tcp-socket" (type $s (eq $tcp-socket)))
    (export "error-code" (type $c (eq $code)))
    (export "ip-address-family" (type $f (eq $family)))
    (export "create-tcp-socket" (func (param "address-family" $f) (result (result (own $s) (error $c)))))))
  (import "wasi:sockets/udp-create-socket@0.2.0" (instance $udp-create
    (export "udp-socket" (type $s (eq $udp-socket)))
    (export "error-code" (type $c (eq $code)))
    (export "ip-address-family" (type $f (eq $family)))
    (export "create-udp-socket" (func (param "address-family" $f) (result (result (own $s) (error $c)))))))

  <first>
  (core module $libc
    (memory (export "memory") <memory>)
    (global $at (mut i32) (i32.const 8192))
    <realloc-fields>
    (func (export "realloc") (param $old i32) (param $was i32) (param $align i32) (param $size i32) (result i32)
      <realloc>))
  (core instance $libc (instantiate $libc))
  <lowered>
  <core>
  (core module $main
    (import "libc" "memory" (memory 0))
    (import "libc" "realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
    <imported>
    (data (i32.const 48) "1")
    (data (i32.const 64) "[{\"name\":\"it.runs\"}]")
    (func $ok (param $at i32) (param $bytes i32) (result i32)
      (i32.store (i32.const 768) (i32.const 0))
      (i32.store (i32.const 772) (local.get $at))
      (i32.store (i32.const 776) (local.get $bytes))
      (i32.const 768))
    (func $one (result i32) (call $ok (i32.const 48) (i32.const 1)))
    ;; Returns 1, or raises what the host call said that put its result at 512.
    (func $told (result i32)
      (if (i32.eqz (i32.load8_u (i32.const 512))) (then (return (call $one))))
      (i32.store (i32.const 768) (i32.const 1))
      (i32.store (i32.const 772) (i32.const 0))
      (memory.copy (i32.const 776) (i32.const 516) (i32.const 32))
      (i32.const 768))
    ;; Returns a number as its digit.
    (func $digit (param $number i32) (result i32)
      (i32.store8 (i32.const 40) (i32.add (i32.const 48) (local.get $number)))
      (call $ok (i32.const 40) (i32.const 1)))
    (func (export "describe") (result i32)
      (i32.store (i32.const 16) (i32.const 64))
      (i32.store (i32.const 20) (i32.const 20))
      <describe>
      (i32.const 16))
    (func (export "run") (param $task i32) (param $task-bytes i32) (param $args i32) (param $args-bytes i32)
      (param $kwargs i32) (param $kwargs-bytes i32) (result i32)
      <run>)
    <fields>)
  (core instance $i (instantiate $main (with "libc" (instance $libc)) (with "host" (instance $lowered)) <with>))
  (func $describe (result string)
    (canon lift (core func $i "describe") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc"))))
  (func $run (param "task" string) (param "args" string) (param "kwargs" string)
    (result (result string (error $ending)))
    (canon lift (core func $i "run") (memory (core memory $libc "memory")) (realloc (core func $libc "realloc")) <lift-run>))
  (instance $tasks (export "describe" (func $describe)) (export "run" (func $run)))
  (export "lovage:task/tasks@0.1.0" (instance $tasks))
  <last>)
