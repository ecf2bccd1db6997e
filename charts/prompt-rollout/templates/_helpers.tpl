{{- define "prompt-rollout.name" -}}
{{- if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 53 | trimSuffix "-" }}{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 53 | trimSuffix "-" }}{{- end -}}
{{- end -}}

{{- define "prompt-rollout.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "prompt-rollout.labels" -}}
{{ include "prompt-rollout.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "prompt-rollout.serviceAccount" -}}
{{- default (include "prompt-rollout.name" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* What the operator needs in each namespace that it watches, and no more (promptrollout.cluster.access). */}}
{{- define "prompt-rollout.rules" -}}
- apiGroups: [promptrollout.dev]
  resources: [promptrollouts]
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
{{- end -}}
