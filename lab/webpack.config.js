// Ids by order: the default ones hash the checkout's path, and the output is committed.
module.exports = { optimization: { moduleIds: 'natural' } };
