# docker compose up --build, or: docker build -t ilora-lab . && docker run --rm -p 127.0.0.1:8501:8501 -v ilora-runs:/runs ilora-lab
FROM python:3.12-slim

RUN useradd --create-home lab && mkdir -p /runs /cache && chown lab /runs /cache

# PyTorch's CPU index, named here, makes an image of a third of the size: pip prefers its builds to those with CUDA.
ARG PIP_EXTRA_INDEX_URL
# The packages first: they change seldom.
COPY requirements.txt /tmp/lab/
RUN pip install --no-cache-dir -r /tmp/lab/requirements.txt
COPY . /tmp/lab
RUN pip install --no-cache-dir -c /tmp/lab/requirements.txt "/tmp/lab[app,data]" && rm -r /tmp/lab

USER lab
WORKDIR /home/lab
ENV ILORA_HOME=/runs ILORA_CACHE=/cache HF_HOME=/cache/huggingface
VOLUME /runs /cache
EXPOSE 8501
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=5)"]
CMD ["ilora", "app", "--address", "0.0.0.0", "--port", "8501", "--headless"]
