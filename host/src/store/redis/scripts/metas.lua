-- The results of some tasks; what is not there is an empty text.

local metas = {}
for i, id in ipairs(A.ids) do metas[i] = lenient('GET', K.meta(A.tenant, id)) or '' end
return cmsgpack.pack({ metas = metas })
