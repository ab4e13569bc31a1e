const markdown = (id, source) => ({ cell_type: 'markdown', id, metadata: {}, source });
const code = (id, source) => ({ cell_type: 'code', id, metadata: {}, source, outputs: [], execution_count: null });

// The notebook that card and menu open, in nbformat 4.5. Its kernel starts in its own folder, so "." is that folder.
export const notebook = () => ({
  nbformat: 4,
  nbformat_minor: 5,
  metadata: {},
  cells: [
    markdown('why', '# Face audit\n\nThe faces are the images in this folder. Choose a model and press Run; `AuditApp("a folder")` opens an audit that is finished.'),
    code('import', 'from identiface_audit.widgets import AuditApp'),
    code('app', 'AuditApp(folder=".")')
  ]
});
