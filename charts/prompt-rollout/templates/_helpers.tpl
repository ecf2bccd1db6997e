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

{{/* Where each sort of credential of a webhook or a channel comes from, as for the sources. */}}
{{- define "prompt-rollout.webhookCredentials" -}}
urlSecret: {kind: secret, file: url, field: urlFile}
signingSecret: {kind: secret, file: signing, field: secretFile}
tokenSecret: {kind: secret, file: token, field: bearerTokenFile}
caSecret: {kind: secret, file: ca.crt, field: caFile}
caConfigMap: {kind: configMap, file: ca.crt, field: caFile}
{{- end -}}

{{/* A map of names to webhooks or channels with references to Secrets turned into files below a folder. */}}
{{- define "prompt-rollout.withFiles" -}}
{{- $known := include "prompt-rollout.webhookCredentials" . | fromYaml -}}
{{- $folder := index . 1 -}}
{{- $all := dict -}}
{{- range $name, $given := index . 0 -}}
{{- $one := dict -}}
{{- range $field, $value := $given -}}
{{- if hasKey $known $field -}}
{{- $as := get $known $field -}}
{{- $_ := set $one $as.field (printf "%s/%s/%s" $folder $name $as.file) -}}
{{- else -}}
{{- $_ := set $one $field $value -}}
{{- end -}}
{{- end -}}
{{- $_ := set $all $name $one -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* One projected volume for each webhook or channel that has credentials, as a map of its name to its projections. */}}
{{- define "prompt-rollout.volumesFor" -}}
{{- $known := include "prompt-rollout.webhookCredentials" . | fromYaml -}}
{{- $volumes := dict -}}
{{- range $name, $given := . -}}
{{- $projections := list -}}
{{- range $field, $value := $given -}}
{{- if hasKey $known $field -}}
{{- $as := get $known $field -}}
{{- $item := dict "key" $value.key "path" $as.file -}}
{{- $projections = append $projections (dict $as.kind (dict "name" $value.name "items" (list $item))) -}}
{{- end -}}
{{- end -}}
{{- if $projections -}}
{{- $_ := set $volumes $name $projections -}}
{{- end -}}
{{- end -}}
{{- toYaml $volumes -}}
{{- end -}}

{{/* The configuration of gates as the operator reads it. */}}
{{- define "prompt-rollout.gates" -}}
{{- $webhooks := include "prompt-rollout.withFiles" (list .Values.gates.webhooks "/etc/prompt-rollout-webhooks") | fromYaml -}}
{{- $jobs := omit .Values.gates.jobs "policy" -}}
{{- toYaml (dict "jobs" $jobs "webhooks" $webhooks "allowedHosts" .Values.gates.allowedHosts) -}}
{{- end -}}

{{/* The channels of notifications as the operator reads them. */}}
{{- define "prompt-rollout.notifications" -}}
{{- $given := .Values.notifications -}}
{{- $channels := include "prompt-rollout.withFiles" (list $given.channels "/etc/prompt-rollout-channels") | fromYaml -}}
{{- $known := dict "channels" $channels "defaultChannels" $given.defaultChannels -}}
{{- range $name := list "title" "template" -}}
{{- with get $given $name -}}
{{- $_ := set $known $name . -}}
{{- end -}}
{{- end -}}
{{- toYaml $known -}}
{{- end -}}
