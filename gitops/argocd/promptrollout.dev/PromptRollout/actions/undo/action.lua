-- undo: the command is an annotation, which Git does not own, so no sync takes it back. Each id is executed once:
-- the version of the object makes it another one at each click, the time also after a restore from a backup.
local os = require("os")
obj.metadata.annotations = obj.metadata.annotations or {}
obj.metadata.annotations["promptrollout.dev/command"] =
  "undo:argocd-" .. (obj.metadata.resourceVersion or "0") .. "-" .. os.time()
return obj
