{{- define "prompt-rollout.name" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Names of cluster-wide objects: two releases of one name in two namespaces must not share them. */}}
{{- define "prompt-rollout.clusterName" -}}
{{- $name := include "prompt-rollout.name" . -}}
{{- if eq $name .Release.Namespace -}}{{ $name }}{{- else -}}{{ printf "%s:%s" .Release.Namespace $name }}{{- end -}}
{{- end -}}

{{/* The same where a colon is not allowed. */}}
{{- define "prompt-rollout.clusterDnsName" -}}
{{- include "prompt-rollout.clusterName" . | replace ":" "." -}}
{{- end -}}

{{- define "prompt-rollout.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "prompt-rollout.labels" -}}
{{ include "prompt-rollout.selector" . }}
app.kubernetes.io/component: operator
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "prompt-rollout.serviceAccount" -}}
{{- default (include "prompt-rollout.name" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "prompt-rollout.user" -}}
{{- printf "system:serviceaccount:%s:%s" .Release.Namespace (include "prompt-rollout.serviceAccount" .) -}}
{{- end -}}

{{- define "prompt-rollout.lease" -}}
{{- default (include "prompt-rollout.name" .) .Values.leaderElection.leaseName -}}
{{- end -}}

{{- define "prompt-rollout.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* What the operator needs in each namespace that it watches, and no more (promptrollout.cluster.access). */}}
{{- define "prompt-rollout.rules" -}}
- apiGroups: [promptrollout.dev]
  resources: [promptrollouts, promptrolloutpolicies]
  verbs: [get, list, watch]
- apiGroups: [promptrollout.dev]
  resources: [promptrollouts/status]
  verbs: [patch]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list{{ if eq .Values.delivery.mode "Nudge" }}, patch{{ end }}]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- if .Values.gates.jobs.enabled }}
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, create, delete]
- apiGroups: [batch]
  resources: [cronjobs]
  verbs: [get]
{{- end }}
{{- end -}}

{{/* What it needs in the cluster, wherever the rollouts are. */}}
{{- define "prompt-rollout.clusterRules" -}}
- apiGroups: [promptrollout.dev]
  resources: [clusterpromptrolloutpolicies]
  verbs: [get, list, watch]
{{- end -}}

{{- define "prompt-rollout.subjects" -}}
- {kind: ServiceAccount, name: {{ include "prompt-rollout.serviceAccount" . }}, namespace: {{ .Release.Namespace }}}
{{- end -}}

{{/* Where each sort of credential comes from, the file it becomes, and the field of the source that names the file. */}}
{{- define "prompt-rollout.credentials" -}}
tokenSecret: {kind: secret, file: token, field: bearerTokenFile}
passwordSecret: {kind: secret, file: password, field: passwordFile}
caSecret: {kind: secret, file: ca.crt, field: caFile}
caConfigMap: {kind: configMap, file: ca.crt, field: caFile}
{{- end -}}

{{/* Where the credentials of a source or a registry are mounted, as the end of a path and of a volume's name. */}}
{{- define "prompt-rollout.credentialName" -}}
{{- if eq (index . 0) "registries" -}}registry--{{- end -}}{{ index . 1 }}
{{- end -}}

{{/* The sources, or the registries, as the operator reads them: references to Secrets turned into files. */}}
{{- define "prompt-rollout.named" -}}
{{- $root := index . 0 -}}
{{- $what := index . 1 -}}
{{- $known := include "prompt-rollout.credentials" $root | fromYaml -}}
{{- $all := dict -}}
{{- range $name, $given := get $root.Values $what -}}
{{- $folder := printf "/etc/prompt-rollout-credentials/%s" (include "prompt-rollout.credentialName" (list $what $name)) -}}
{{- $one := dict -}}
{{- range $field, $value := $given -}}
{{- if hasKey $known $field -}}
{{- $as := get $known $field -}}
{{- $_ := set $one $as.field (printf "%s/%s" $folder $as.file) -}}
{{- else if eq $field "clientCertificateSecret" -}}
{{- $_ := set $one "clientCertificateFile" (printf "%s/tls.crt" $folder) -}}
{{- $_ := set $one "clientKeyFile" (printf "%s/tls.key" $folder) -}}
{{- else -}}
{{- $_ := set $one $field $value -}}
{{- end -}}
{{- end -}}
{{- $_ := set $all $name $one -}}
{{- end -}}
{{- toYaml (dict $what $all) -}}
{{- end -}}

{{- define "prompt-rollout.sources" -}}
{{- include "prompt-rollout.named" (list . "sources") -}}
{{- end -}}

{{- define "prompt-rollout.registries" -}}
{{- include "prompt-rollout.named" (list . "registries") -}}
{{- end -}}

{{/* One projected volume for each source or registry that has credentials, as a map of name to its list of projections. */}}
{{- define "prompt-rollout.credentialVolumes" -}}
{{- $known := include "prompt-rollout.credentials" . | fromYaml -}}
{{- $volumes := dict -}}
{{- $root := . -}}
{{- range $what := list "sources" "registries" -}}
{{- range $name, $given := get $root.Values $what -}}
{{- $projections := list -}}
{{- range $field, $value := $given -}}
{{- if hasKey $known $field -}}
{{- $as := get $known $field -}}
{{- $item := dict "key" $value.key "path" $as.file -}}
{{- $projections = append $projections (dict $as.kind (dict "name" $value.name "items" (list $item))) -}}
{{- else if eq $field "clientCertificateSecret" -}}
{{- $items := list (dict "key" "tls.crt" "path" "tls.crt") (dict "key" "tls.key" "path" "tls.key") -}}
{{- $projections = append $projections (dict "secret" (dict "name" $value.name "items" $items)) -}}
{{- end -}}
{{- end -}}
{{- if $projections -}}
{{- $_ := set $volumes (include "prompt-rollout.credentialName" (list $what $name)) $projections -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $volumes -}}
{{- end -}}

{{/* Where each sort of credential of a webhook comes from, as for the sources. */}}
{{- define "prompt-rollout.webhookCredentials" -}}
signingSecret: {kind: secret, file: signing, field: secretFile}
tokenSecret: {kind: secret, file: token, field: bearerTokenFile}
caSecret: {kind: secret, file: ca.crt, field: caFile}
caConfigMap: {kind: configMap, file: ca.crt, field: caFile}
{{- end -}}

{{/* The configuration of gates as the operator reads it. */}}
{{- define "prompt-rollout.gates" -}}
{{- $known := include "prompt-rollout.webhookCredentials" . | fromYaml -}}
{{- $webhooks := dict -}}
{{- range $name, $given := .Values.gates.webhooks -}}
{{- $webhook := dict -}}
{{- range $field, $value := $given -}}
{{- if hasKey $known $field -}}
{{- $as := get $known $field -}}
{{- $_ := set $webhook $as.field (printf "/etc/prompt-rollout-webhooks/%s/%s" $name $as.file) -}}
{{- else -}}
{{- $_ := set $webhook $field $value -}}
{{- end -}}
{{- end -}}
{{- $_ := set $webhooks $name $webhook -}}
{{- end -}}
{{- $jobs := omit .Values.gates.jobs "policy" -}}
{{- toYaml (dict "jobs" $jobs "webhooks" $webhooks "allowedHosts" .Values.gates.allowedHosts) -}}
{{- end -}}

{{/* One projected volume for each webhook, as a map of its name to its list of projections. */}}
{{- define "prompt-rollout.webhookVolumes" -}}
{{- $known := include "prompt-rollout.webhookCredentials" . | fromYaml -}}
{{- $volumes := dict -}}
{{- range $name, $given := .Values.gates.webhooks -}}
{{- $projections := list -}}
{{- range $field, $value := $given -}}
{{- if hasKey $known $field -}}
{{- $as := get $known $field -}}
{{- $item := dict "key" $value.key "path" $as.file -}}
{{- $projections = append $projections (dict $as.kind (dict "name" $value.name "items" (list $item))) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $volumes $name $projections -}}
{{- end -}}
{{- toYaml $volumes -}}
{{- end -}}
