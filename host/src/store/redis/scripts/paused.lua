-- Are leases from a queue stopped?

return call('SISMEMBER', K.paused, A.tenant .. '\0' .. A.queue)
