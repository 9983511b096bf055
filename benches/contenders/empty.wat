;; A module that Envoy runs on every request without ever calling it: no stream callback is exported.
(module
  (memory (export "memory") 1)
  (func (export "_initialize"))
  (func (export "proxy_abi_version_0_2_1"))
  ;; Nothing is ever handed over to it.
  (func (export "proxy_on_memory_allocate") (param i32) (result i32) (i32.const 0)))
