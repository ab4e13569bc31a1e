import { Widget } from '@lumino/widgets';
import { el } from './dom';
import svgstr from './face.svg';
import { auditView } from './view';
import css from './view.raw.css';

const MIME = 'application/vnd.identiface.audit+json';

class AuditView extends Widget {
  constructor() {
    super();
    this.addClass('identiface-audit');
    Object.assign(this.node, { tabIndex: 0, role: 'region', ariaLabel: 'Face audit' }); // tabIndex: keys scroll it
  }

  renderModel(model) {
    this.node.replaceChildren(el('style', { textContent: css }), auditView(model.data[MIME]));
    return Promise.resolve();
  }
}

// dataType "string": a file that is not JSON reaches the view, which says so in a line.
export default {
  id: 'identiface-audit:viewer',
  description: 'Shows audit.json without a kernel.',
  rendererFactory: { safe: true, mimeTypes: [MIME], createRenderer: () => new AuditView() },
  dataType: 'string',
  fileTypes: [
    {
      name: 'identiface-audit',
      displayName: 'Face audit',
      mimeTypes: [MIME],
      extensions: ['.audit.json'],
      pattern: '^(.*\\.)?audit\\.json$',
      fileFormat: 'text',
      icon: { name: 'identiface-audit:face', svgstr }
    }
  ],
  documentWidgetFactoryOptions: {
    name: 'Face audit',
    primaryFileType: 'identiface-audit',
    fileTypes: ['identiface-audit'],
    defaultFor: ['identiface-audit']
  }
};
