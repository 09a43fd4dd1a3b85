from . import BaseHandler

logger = logging.getLogger(__name__)

class DemoHandler(BaseHandler):
    def __init__(self, agent, ini_file, ini):
        BaseHandler.__init__(self, agent, ini_file, ini)
        self.custom_param=ini.get('params', 'custom_param') if ini.has_option('params', 'custom_param') else None
        
    def handle(self, event, container_id):
        logger.info('got event=%r on container=%r and custom_param=%r', event, container_id, self.custom_param)

