-- The results of some tasks, if they fit into memory; what is not there is an empty text.

local metas, bytes = {}, 0
for i, id in ipairs(A.ids) do
  local key = K.meta(A.tenant, id)
  bytes = bytes + (lenient('STRLEN', key) or 0)
  if bytes > MAX_BYTES then return cmsgpack.pack({ too_long = true }) end
  metas[i] = lenient('GET', key) or ''
end
return cmsgpack.pack({ metas = metas })
